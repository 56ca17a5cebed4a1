//! The SQL stores, compared with raw prepared statements on the same server and the same pool.

mod bulk;
mod floors;
mod postgres;
mod store;

pub use bulk::{Sweep, end_many, sign_in_p99};
pub use floors::RawFloor;
pub use postgres::PipelinedFloor;
pub use store::{SqlScene, mysql, postgres, sqlite};
