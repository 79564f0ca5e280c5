//! The format that a database says it has. Owns no fds.

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use crate::fault::Fault;

const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// What the format stands under.
const KEY: &str = "format";

/// Writes the format `known` into a new database, and checks that of another.
pub(crate) fn prepare(transaction: WriteTransaction, known: u64) -> Result<(), Fault> {
    let found = {
        let mut about = transaction.open_table(ABOUT).map_err(Fault::of)?;
        let found = about.get(KEY).map_err(Fault::of)?.map(|found| found.value());
        if found.is_none() {
            about.insert(KEY, known).map_err(Fault::of)?;
        }
        found
    };
    match found {
        Some(found) if found == known => transaction.abort().map_err(Fault::of),
        Some(found) => Err(Fault::Newer { found, known }),
        None => transaction.commit().map_err(Fault::of),
    }
}
