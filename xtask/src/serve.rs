//! `cargo xtask serve`: runs ephemeral servers until Ctrl-C.

use std::sync::mpsc;

use crate::error::{Error, Result};
use crate::servers::{Running, Service};
use crate::table;
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Names of the servers; all if none is given
    names: Vec<Service>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (sender, interrupted) = mpsc::channel();
    // Set before the first start: from now on an interrupt also stops the servers, and waits for
    // that.
    let interrupt = move || {
        let _ = sender.send(());
    };
    ctrlc::set_handler(interrupt).map_err(|source| Error::Signals { source })?;
    let services = if arguments.names.is_empty() { Service::value_variants() } else { &arguments.names };
    let servers = services.iter().map(|service| service.start()).collect::<Result<Vec<_>>>()?;
    println!("{}\n", render(&servers));
    for server in &servers {
        println!("export {}={}", server.service.variable(), server.url);
    }
    eprintln!("\nCtrl-C stops the servers and removes their data");
    // The sender lives as long as the handler.
    let _ = interrupted.recv();
    drop(servers);
    eprintln!("\nstopped");
    Ok(())
}

fn render(servers: &[Running]) -> Table {
    let mut table = table::with_columns(&["server", "version", "URL"]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    for server in servers {
        table.add_row([server.service.name(), &server.version, &server.url]);
    }
    table
}
