//! `cargo xtask serve`: throw-away servers for a person, until Ctrl-C.

use std::sync::mpsc;

use clap::Args;
use comfy_table::{CellAlignment, Table};
use session_servers::{Kind, Server};

use crate::error::{Error, Result};
use crate::servers;
use crate::table;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Names of the servers, postgres or mysql; all of them if none is given
    names: Vec<Kind>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (sender, interrupted) = mpsc::channel();
    // Before the first start: an interrupt from now on ends the servers too, and waits for it.
    let interrupt = move || {
        let _ = sender.send(());
    };
    ctrlc::set_handler(interrupt).map_err(|source| Error::Signals { source })?;
    let kinds = if arguments.names.is_empty() { Kind::ALL } else { &arguments.names };
    let servers = kinds.iter().map(|&kind| servers::start(kind)).collect::<Result<Vec<_>>>()?;
    println!("{}\n", render(&servers));
    for server in &servers {
        println!("export {}={}", server.kind().variable(), server.url());
    }
    eprintln!("\nCtrl-C ends them and removes their data");
    // The sender lives as long as the handler.
    let _ = interrupted.recv();
    drop(servers);
    eprintln!("\nended");
    Ok(())
}

fn render(servers: &[Server]) -> Table {
    let mut table = table::with_columns(&["server", "version", "URL"]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    for server in servers {
        table.add_row([server.kind().name(), server.version(), &server.url()]);
    }
    table
}
