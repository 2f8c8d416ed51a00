//! What every kind of store does, whatever lies behind it.

mod audit;
mod catalogue;
mod concurrency;
mod follow;
mod limits;
mod oauth;

/// Makes each `async fn(&Rig)` a test for every kind of store.
macro_rules! for_every_store {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() {
                crate::rig::on_sqlite(super::$name);
            })*
        }
        mod on_postgres {
            $(#[test] fn $name() {
                crate::rig::on_postgres(super::$name);
            })*
        }
    };
}
use for_every_store;
