//! A request that has too little time left is not sent.

use super::{Act, GET, OK, POST, Upstream, alone, ask, status};
use crate::paused::paused;

fn within(request: &str, ms: u32) -> String {
    request.replace("Host: a\r\n", &format!("Host: a\r\nX-Request-Timeout-Ms: {ms}\r\n"))
}

#[test]
fn too_little_time_is_refused_at_once_but_for_one_in_twenty() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(100, OK));
        let rig = alone(&upstream, "", "");
        // Nothing is known yet: everybody is let through.
        assert!(ask(&rig, &within(POST, 50)).await.contains("\"deadline_exceeded\""));
        for _ in 0..30 {
            assert_eq!(status(&ask(&rig, GET).await), 200);
        }
        let before = upstream.requests();
        let mut refused = 0;
        for _ in 0..100 {
            let answer = ask(&rig, &within(POST, 50)).await;
            assert_eq!(status(&answer), 504, "{answer}");
            refused += usize::from(answer.contains("\"deadline_too_short\""));
        }
        let sent = upstream.requests() - before;
        assert_eq!(refused + sent, 100, "what is refused is not sent");
        assert!((5..=6).contains(&sent), "{sent}");
        assert_eq!(status(&ask(&rig, &within(GET, 500)).await), 200);
    });
}

/// What the service took long ago says nothing.
#[test]
fn old_answers_do_not_count() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(100, OK));
        let rig = alone(&upstream, "", "");
        for _ in 0..30 {
            ask(&rig, GET).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        for _ in 0..10 {
            assert!(ask(&rig, &within(GET, 50)).await.contains("\"deadline_exceeded\""));
        }
    });
}
