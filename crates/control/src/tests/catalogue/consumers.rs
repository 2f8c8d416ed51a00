use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_core::catalogue::Consumer;
use serde_json::{Value, json};

use super::{Between, Desk, Fake, conforms, soon, text};

fn of_file(id: &str) -> Consumer {
    Consumer {
        id: id.to_owned(),
        name: format!("{id} of the file"),
        plan: Some("gold".to_owned()),
        groups: vec!["partners".to_owned()],
        attributes: Default::default(),
        suspended: false,
        created_at: 0,
    }
}

#[tokio::test]
async fn a_consumer_is_made_shown_changed_and_deleted() {
    let desk = Desk::open().await;
    let body = json!({
        "id": "acme", "name": "Acme Ltd", "plan": "gold", "groups": ["partners"],
        "attributes": { "country": "de", "limits": { "daily": 500, "open": true, "at": ["a", "b"] } },
    });
    let made = desk.change("POST /admin/v1/consumers", &body).await;
    assert_eq!((made.status, made.header("location")), (201, Some("/admin/v1/consumers/acme")), "{made:?}");
    let expected = json!({
        "id": "acme", "name": "Acme Ltd", "plan": "gold", "groups": ["partners"],
        "attributes": { "country": "de", "limits": { "daily": 500, "open": true, "at": ["a", "b"] } },
        "suspended": false, "created_at": "2026-11-24T10:00:00Z", "source": "catalogue", "etag": "1",
    });
    assert_eq!((made.json(), made.header("etag")), (expected.clone(), Some("\"1\"")));
    conforms("Consumer", &made.json());
    let shown = desk.get("/admin/v1/consumers/acme").await;
    assert_eq!((shown.status, shown.json(), shown.header("etag")), (200, expected.clone(), Some("\"1\"")));
    assert_eq!(desk.get("/admin/v1/consumers").await.json(), json!({ "items": [expected] }));

    let again = desk.change("POST /admin/v1/consumers", &body).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"), "{again:?}");

    let gone = desk.change("DELETE /admin/v1/consumers/acme", &json!({})).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""), "{gone:?}");
    for method in ["GET", "DELETE", "PATCH"] {
        let missing = desk.call(super::SECRET, &format!("{method} /admin/v1/consumers/acme"), "", "{}").await;
        assert_eq!((missing.status, missing.problem().as_str()), (404, "not_found"), "{missing:?}");
    }
    let least = desk.consumer("b").await.json();
    assert_eq!((&least["name"], &least["plan"]), (&json!("b"), &Value::Null), "{least}");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let desk = Desk::open().await;
    let body = json!({
        "id": "acme", "name": "Acme", "plan": "gold", "groups": ["a"], "attributes": { "x": 1, "y": "z" },
    });
    assert_eq!(desk.change("POST /admin/v1/consumers", &body).await.status, 201);
    let mut expected = desk.get("/admin/v1/consumers/acme").await.json();
    let rows = [
        json!({}),
        json!({ "name": "Acme Ltd" }),
        json!({ "plan": "free", "suspended": true }),
        json!({ "attributes": { "x": null, "new": [1] } }),
        json!({ "groups": ["b", "c"] }),
        json!({ "plan": null, "groups": null, "attributes": null, "suspended": null }),
    ];
    for (patch, etag) in rows.into_iter().zip(2..) {
        for (name, value) in patch.as_object().unwrap() {
            match (name.as_str(), value) {
                ("attributes", Value::Object(_)) => {
                    expected["attributes"] = json!({ "y": "z", "new": [1] });
                }
                ("attributes", _) => expected["attributes"] = json!({}),
                ("groups", Value::Null) => expected["groups"] = json!([]),
                ("suspended", Value::Null) => expected["suspended"] = json!(false),
                (name, value) => expected[name] = value.clone(),
            }
        }
        expected["etag"] = json!(etag.to_string());
        let changed = desk.change("PATCH /admin/v1/consumers/acme", &patch).await;
        assert_eq!((changed.status, changed.json()), (200, expected.clone()), "{patch}");
        assert_eq!(desk.get("/admin/v1/consumers/acme").await.json(), expected, "{patch}");
    }
}

#[tokio::test]
async fn of_two_who_read_the_same_one_writes() {
    let desk = Desk::open().await;
    let first = desk.consumer("acme").await;
    let read = first.header("etag").unwrap();
    let path = "PATCH /admin/v1/consumers/acme";
    let won = desk.change_if(read, path, &json!({ "name": "first" })).await;
    assert_eq!(won.status, 200, "{won:?}");
    let now = won.header("etag").unwrap();
    for (method, body) in [("PATCH", json!({ "plan": "free" })), ("DELETE", json!({}))] {
        let path = format!("{method} /admin/v1/consumers/acme");
        for stale in [read, "\"999\"", &format!("W/{now}"), "\"file-x\"", "\"\""] {
            let lost = desk.change_if(stale, &path, &body).await;
            assert_eq!((lost.status, lost.problem().as_str()), (412, "precondition_failed"), "{stale}");
            assert_eq!(lost.header("etag"), Some(now), "{stale}");
        }
    }
    assert_eq!(desk.get("/admin/v1/consumers/acme").await.json()["name"], "first");
    let listed = format!("\"999\", {now}");
    let won = desk.change_if(&listed, path, &json!({ "name": "second" })).await;
    assert_eq!(won.status, 200, "{won:?}");
    assert_eq!(desk.change_if("*", path, &json!({ "name": "third" })).await.status, 200);
    for malformed in ["42", "\"42", "\"a\" \"b\"", ","] {
        let refused = desk.change_if(malformed, path, &json!({})).await;
        assert_eq!(refused.problem(), "malformed_request", "{malformed}");
    }
    assert_eq!(desk.verified().await, 4);
}

/// Between reading and writing lies another's change: with `If-Match` the caller is told, without it both are kept.
#[tokio::test]
async fn no_change_is_lost_between_reading_and_writing() {
    let mut between = None;
    let desk =
        Desk::behind(Fake::default(), |store| Arc::clone(between.insert(Arc::new(Between::new(store)))))
            .await;
    let between = between.unwrap();
    let made = desk.consumer("acme").await;
    let path = "PATCH /admin/v1/consumers/acme";
    between.meddles.add_permits(1);
    let told = desk.change_if(made.header("etag").unwrap(), path, &json!({ "name": "mine" })).await;
    assert_eq!((told.status, told.header("etag")), (412, Some("\"2\"")), "{told:?}");

    between.meddles.add_permits(2);
    let both = desk.change(path, &json!({ "name": "mine" })).await;
    assert_eq!((both.status, &both.json()["groups"]), (200, &json!(["g0", "g1", "g2"])), "{both:?}");
    assert_eq!(both.json()["name"], "mine");

    between.meddles.add_permits(5);
    let given_up = desk.change(path, &json!({ "name": "other" })).await;
    assert_eq!((given_up.status, given_up.problem().as_str()), (409, "conflict"), "{given_up:?}");
    assert_eq!(desk.get("/admin/v1/consumers/acme").await.json()["name"], "mine");
}

#[tokio::test]
async fn what_stands_in_the_file_is_shown_and_not_changed() {
    let desk =
        Desk::with(Fake { file_consumers: vec![of_file("bank"), of_file("zoo")], ..Fake::default() }).await;
    desk.consumer("acme").await;
    desk.consumer("mill").await;
    let listed = desk.all("/admin/v1/consumers", 1).await;
    let seen: Vec<_> = listed.iter().map(|c| (text(c, "id"), text(c, "source"))).collect();
    let expected = [("acme", "catalogue"), ("bank", "file"), ("mill", "catalogue"), ("zoo", "file")];
    assert_eq!(seen, expected.map(|(id, source)| (id.to_owned(), source.to_owned())));
    for limit in [2, 3, 4, 500] {
        assert_eq!(desk.all("/admin/v1/consumers", limit).await, listed, "{limit}");
    }
    let bank = desk.get("/admin/v1/consumers/bank").await;
    assert_eq!((bank.status, bank.header("etag")), (200, Some("\"file-digest-0\"")), "{bank:?}");
    conforms("Consumer", &bank.json());
    for (call, body) in [
        ("POST /admin/v1/consumers", json!({ "id": "bank" })),
        ("PATCH /admin/v1/consumers/bank", json!({ "name": "other" })),
        ("DELETE /admin/v1/consumers/bank", json!({})),
    ] {
        let refused = desk.change(call, &body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (409, "conflict"), "{call}");
        assert!(refused.body.contains("configuration file"), "{refused:?}");
    }
    let key = desk.key("bank", &json!({})).await;
    assert_eq!(key["consumer"], "bank");
    assert_eq!(desk.all("/admin/v1/consumers/bank/keys", 10).await.len(), 1);
}

/// One that was made here and later written into the file, too.
#[tokio::test]
async fn what_stands_in_both_is_listed_once() {
    let desk = Desk::with(Fake { file_consumers: vec![of_file("b")], ..Fake::default() }).await;
    for id in ["a", "b", "c"] {
        let consumer = Consumer { plan: None, ..of_file(id) };
        let by = mainstay_core::catalogue::Actor { id: "x".to_owned(), address: None, request_id: None };
        let change = mainstay_core::catalogue::Change::CreateConsumer(consumer);
        mainstay_core::catalogue::Catalogue::apply(desk.store.as_ref(), change, by, None).await.unwrap();
    }
    for limit in 1..5 {
        let listed = desk.all("/admin/v1/consumers", limit).await;
        let seen: Vec<_> = listed.iter().map(|c| text(c, "id") + &text(c, "source")).collect();
        assert_eq!(seen, ["acatalogue", "bfile", "ccatalogue"], "{limit}");
    }
}

#[tokio::test]
async fn a_list_of_1200_comes_in_pages_without_gaps() {
    let desk = Desk::with(Fake { file_consumers: vec![of_file("c0500x")], ..Fake::default() }).await;
    let ids: Vec<String> = (0..1200).map(|n| format!("c{n:04}")).collect();
    let by = mainstay_core::catalogue::Actor { id: "x".to_owned(), address: None, request_id: None };
    // Made behind the API, many at once: the store commits them together.
    let mut making = tokio::task::JoinSet::new();
    for id in ids.clone() {
        let (store, by) = (Arc::clone(&desk.store), by.clone());
        making.spawn(async move {
            let change =
                mainstay_core::catalogue::Change::CreateConsumer(Consumer { plan: None, ..of_file(&id) });
            mainstay_core::catalogue::Catalogue::apply(store.as_ref(), change, by, None).await.unwrap();
        });
        if making.len() == 50 {
            while making.join_next().await.is_some() {}
        }
    }
    while making.join_next().await.is_some() {}
    let mut expected: BTreeSet<String> = ids.into_iter().collect();
    expected.insert("c0500x".to_owned());
    let expected: Vec<String> = expected.into_iter().collect();
    for limit in [97, 500] {
        let listed = desk.all("/admin/v1/consumers", limit).await;
        assert_eq!(listed.iter().map(|c| text(c, "id")).collect::<Vec<_>>(), expected, "{limit}");
    }
    let page = desk.get("/admin/v1/consumers").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 100, "where nothing is said");
}

#[tokio::test]
async fn of_many_who_make_the_same_one_does() {
    let desk = Desk::open().await;
    let body = json!({ "id": "acme" });
    let calls = (0..12).map(|_| desk.change("POST /admin/v1/consumers", &body));
    let answers = soon(futures(calls)).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[409; 11]].concat());
    let bodies = (0..12).map(|n| json!({ "id": format!("c{n}") })).collect::<Vec<_>>();
    let answers =
        soon(futures(bodies.iter().map(|body| desk.change("POST /admin/v1/consumers", body)))).await;
    let etags: BTreeSet<_> = answers.iter().map(|answer| text(&answer.json(), "etag")).collect();
    assert_eq!(etags.len(), 12, "each has a version of its own");
    assert_eq!(desk.verified().await, 13);
}

/// All of them at once.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
