//! What only a store in files has.

mod crash;
mod damage;
mod files;
mod measure;
