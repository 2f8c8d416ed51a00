use super::{Answer, Fake, SECRET, Server, head};

async fn check(server: &Server, request: &str, status: u16, code: &str) -> Answer {
    let answer = server.ask(request).await;
    assert_eq!(answer.status, status, "{request}\n{answer:?}");
    assert_eq!(answer.problem(), code, "{request}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{request}");
    answer
}

#[tokio::test]
async fn without_the_token_every_admin_path_is_closed() {
    let server = Server::start(Fake::default()).await;
    let close = &SECRET[..SECRET.len() - 1];
    let rows = [
        (String::new(), false),
        (format!("Authorization: {SECRET}\r\n"), false),
        (format!("Authorization: Basic {SECRET}\r\n"), false),
        ("Authorization: Bearer\r\n".to_owned(), false),
        (format!("Authorization: Bearer {SECRET}\r\nAuthorization: Bearer {SECRET}\r\n"), false),
        (format!("X-Token: {SECRET}\r\n"), false),
        (format!("Authorization: Bearer {close}\r\n"), true),
        (format!("Authorization: Bearer {close}X\r\n"), true),
        (format!("Authorization: Bearer {SECRET}{SECRET}\r\n"), true),
        (format!("Authorization: Bearer \"{SECRET}\"\r\n"), true),
    ];
    let paths = [
        "POST /admin/v1/reload",
        "GET /admin/v1/config",
        "HEAD /admin/v1/config",
        "GET /admin/v1/versions",
        "GET /admin/v1/upstreams",
        "GET /admin/v1/requests/known",
        "GET /admin/v1/requests/unknown",
        "GET /admin/v1/openapi.json",
    ];
    for (credentials, presented) in &rows {
        for path in paths {
            let request = head(path, credentials);
            let answer = server.ask(&request).await;
            assert_eq!(answer.status, 401, "{request}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), *presented, "{request}");
            if !path.starts_with("HEAD") {
                assert_eq!(answer.problem(), "unauthenticated", "{request}");
            }
        }
    }
    assert_eq!(server.engine.generation.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing was reloaded");
}

#[tokio::test]
async fn a_request_meant_for_another_host_is_misdirected() {
    let server = Server::start(Fake::default()).await;
    let token = format!("Authorization: Bearer {SECRET}");
    let misdirected = [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0:9090",
        "[::2]",
        "127.1",
        "2130706433",
    ];
    for path in ["/livez", "/metrics", "/admin/v1/config", "/none"] {
        for host in misdirected {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}\r\n\r\n");
            check(&server, &request, 421, "misdirected").await;
        }
        let absolute = format!("GET http://evil.example{path} HTTP/1.1");
        let request = format!("{absolute}\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n\r\n");
        check(&server, &request, 421, "misdirected").await;
    }
    for lines in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: \r\n",
        "Host: a b\r\n",
        "Host: me@localhost\r\n",
    ] {
        let request = format!("GET /livez HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        check(&server, &request, 400, "bad_host").await;
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:8080", "[::1]:9090", "127.9.9.9"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(server.ask(&request).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_web_page_is_refused_even_with_the_token() {
    let server = Server::start(Fake::default()).await;
    for origin in ["https://evil.example", "null", "http://localhost", ""] {
        let headers = format!("Authorization: Bearer {SECRET}\r\nOrigin: {origin}\r\n");
        for path in
            ["POST /admin/v1/reload", "GET /admin/v1/config", "OPTIONS /admin/v1/reload", "GET /admin"]
        {
            check(&server, &head(path, &headers), 403, "origin_refused").await;
        }
    }
    assert_eq!(server.engine.generation.load(std::sync::atomic::Ordering::SeqCst), 0);
    let open = server.ask(&head("GET /livez", "Origin: https://evil.example\r\n")).await;
    assert_eq!(open.status, 200);
    assert_eq!(open.header("access-control-allow-origin"), None, "the page cannot read it");
}

#[tokio::test]
async fn unknown_paths_and_methods_need_no_token() {
    let server = Server::start(Fake::default()).await;
    for path in [
        "GET /",
        "GET /admin",
        "GET /admin/v1",
        "GET /admin/v1/reload/",
        "GET /admin/v1/requests/",
        "GET /admin/v1/requests/a/b",
        "GET //livez",
        "GET /LIVEZ",
        "GET /admin/v1/../v1/config",
        "GET /admin/v2/config",
        "OPTIONS *",
    ] {
        check(&server, &head(path, ""), 404, "not_found").await;
    }
    let rows = [
        ("GET /admin/v1/reload", "POST"),
        ("POST /admin/v1/config", "GET,HEAD"),
        ("DELETE /admin/v1/requests/known", "GET,HEAD"),
        ("PUT /livez", "GET,HEAD"),
        ("OPTIONS /metrics", "GET,HEAD"),
        ("BREW /readyz", "GET,HEAD"),
    ];
    for (request, allow) in rows {
        let answer = check(&server, &head(request, ""), 405, "method_not_allowed").await;
        assert_eq!(answer.header("allow"), Some(allow), "{request}");
    }
    let connect = "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(matches!(server.ask(connect).await.status, 400..=499), "no tunnel is made");
}

#[tokio::test]
async fn requests_that_are_not_remembered_are_not_found() {
    let server = Server::start(Fake::default()).await;
    let long = "a".repeat(257);
    for id in ["unknown", "%FF%FE", long.as_str()] {
        let answer = server.admin("GET", &format!("/admin/v1/requests/{id}")).await;
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.problem(), "not_found", "{id}");
    }
}

#[tokio::test]
async fn faults_of_the_engine_are_answered() {
    let server = Server::start(Fake { config: Some("{not json"), ..Fake::default() }).await;
    for path in ["/admin/v1/requests/broken", "/admin/v1/requests/panics", "/admin/v1/config"] {
        let answer = server.admin("GET", path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"), "{path}");
        assert!(!answer.body.contains("a fault of the engine") && !answer.body.contains("not json"));
    }
    assert_eq!(server.admin("GET", "/admin/v1/requests/known").await.status, 200, "it goes on");
}
