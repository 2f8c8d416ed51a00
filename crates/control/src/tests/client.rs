use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Fake, Server, soon};
use crate::client::{AddressError, AdminAddress, Bounds, CallError, call, call_within, path_segment};

#[test]
fn addresses_are_read_or_refused() {
    use AddressError::{Malformed, NotLoopback, Scheme};
    let rows = [
        ("", Err(Malformed)),
        ("127.0.0.1:9090", Err(Malformed)),
        ("localhost", Err(Malformed)),
        ("/admin", Err(Malformed)),
        ("http://", Err(Malformed)),
        ("http://127.0.0.1:9090/admin", Err(Malformed)),
        ("http://127.0.0.1:9090/?a=b", Err(Malformed)),
        ("http://127.0.0.1:9090/#a", Err(Malformed)),
        ("http://127.0.0.1:99999", Err(Malformed)),
        ("http://me:secret@127.0.0.1:9090", Err(Malformed)),
        ("ftp://127.0.0.1:9090", Err(Scheme)),
        ("https://", Err(Malformed)),
        ("https://a_b..c:9090", Err(Malformed)),
        ("https://admin.example:9090/admin", Err(Malformed)),
        ("https://me:secret@admin.example", Err(Malformed)),
        ("http://10.0.0.1:9090", Err(NotLoopback)),
        ("http://admin.example:9090", Err(NotLoopback)),
        ("http://127.0.0.1:9090", Ok("http://127.0.0.1:9090")),
        ("http://127.0.0.1:9090/", Ok("http://127.0.0.1:9090")),
        ("http://localhost", Ok("http://localhost:80")),
        ("http://[::1]:9090", Ok("http://[::1]:9090")),
        ("https://127.0.0.1:9090", Ok("https://127.0.0.1:9090")),
        ("https://10.0.0.1:9090", Ok("https://10.0.0.1:9090")),
        ("https://[2001:db8::1]:9090", Ok("https://[2001:db8::1]:9090")),
        ("https://localhost:9090", Ok("https://localhost:9090")),
        ("https://admin.example", Ok("https://admin.example:443")),
    ];
    for (text, expected) in rows {
        let read = AdminAddress::parse(text).map(|address| address.to_string());
        assert_eq!(read, expected.map(str::to_owned), "{text}");
    }
    assert_eq!(AdminAddress::of("0.0.0.0:9090".parse().unwrap(), false), Err(NotLoopback));
    // Bound everywhere is reached here.
    for (listen, expected) in [
        ("0.0.0.0:9090", "https://127.0.0.1:9090"),
        ("[::]:9090", "https://[::1]:9090"),
        ("10.0.0.1:9090", "https://10.0.0.1:9090"),
    ] {
        let address = AdminAddress::of(listen.parse().unwrap(), true).unwrap();
        assert_eq!(address.to_string(), expected, "{listen}");
    }
}

#[test]
fn any_text_is_one_segment() {
    let rows =
        [("", ""), ("a-b_c.d~9", "a-b_c.d~9"), ("a/../b?c#d%", "a%2F..%2Fb%3Fc%23d%25"), ("é ", "%C3%A9%20")];
    for (text, expected) in rows {
        assert_eq!(path_segment(text), expected);
    }
}

/// Calls a server that does to the one connection what `answer` says, after reading the head.
async fn against(answer: &'static [u8]) -> CallError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = AdminAddress::of(listener.local_addr().unwrap(), false).unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(answer).await.unwrap();
    };
    let (result, ()) = tokio::join!(call(&address, None, Method::GET, "/livez", None, Vec::new()), server);
    result.expect_err("that is no answer")
}

#[tokio::test]
async fn no_answer_is_told_from_not_reachable() {
    let free: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let address = AdminAddress::of(free, false).unwrap();
    let error = soon(call(&address, None, Method::GET, "/livez", None, Vec::new())).await.unwrap_err();
    assert!(matches!(error, CallError::NotReachable { .. }), "{error}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    let rows: [&[u8]; 4] = [
        b"",
        b"SSH-2.0-something\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
    ];
    for answer in rows {
        let error = soon(against(answer)).await;
        assert!(matches!(error, CallError::NoAnswer { .. }), "{answer:?}: {error}");
    }
    for path in ["livez", "", "/a b", "/\r\nX: y"] {
        let error = call(&address, None, Method::GET, path, None, Vec::new()).await.unwrap_err();
        assert!(matches!(error, CallError::BadPath), "{path:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = AdminAddress::of(listener.local_addr().unwrap(), false).unwrap();
    let bounds = Bounds { whole: Duration::from_millis(50), ..Bounds::default() };
    let given_up = call_within(bounds, &address, None, Method::GET, "/livez", None, Vec::new());
    let error = soon(given_up).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_over_the_bound_is_refused() {
    let server = Server::start(Fake::default()).await;
    let address = AdminAddress::of(server.address, false).unwrap();
    // {"live":true}
    for (answer_bytes, taken) in [(0, false), (12, false), (13, true)] {
        let bounds = Bounds { answer_bytes, ..Bounds::default() };
        let answer = soon(call_within(bounds, &address, None, Method::GET, "/livez", None, Vec::new())).await;
        assert_eq!(answer.is_ok(), taken, "{answer_bytes}: {answer:?}");
    }
}

#[tokio::test]
async fn answers_come_with_their_status() {
    let server = Server::start(Fake::default()).await;
    let address = AdminAddress::of(server.address, false).unwrap();
    let body = b"{}".to_vec();
    let (status, answer) =
        call(&address, None, Method::POST, "/admin/v1/reload", None, body.clone()).await.unwrap();
    assert_eq!(status, 401);
    assert!(String::from_utf8(answer).unwrap().contains("unauthenticated"));

    let token = Some(&server.token);
    let (status, answer) = call(&address, None, Method::POST, "/admin/v1/reload", token, body).await.unwrap();
    assert_eq!((status.as_u16(), answer.as_slice()), (200, &br#"{"generation":1,"digest":"digest-1"}"#[..]));

    let path = format!("/admin/v1/requests/{}", path_segment("a b/c"));
    let (status, _) = call(&address, None, Method::GET, &path, token, Vec::new()).await.unwrap();
    assert_eq!(status, 200);

    let named = AdminAddress::parse(&format!("http://localhost:{}", server.address.port())).unwrap();
    let (status, _) = call(&named, None, Method::GET, "/livez", None, Vec::new()).await.unwrap();
    assert_eq!(status, 200);
}
