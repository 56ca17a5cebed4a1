//! A client for this crate's own commands to a Redis server, through the socket in the server's
//! folder, where no other server can answer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::redis::SOCKET;
use crate::{Result, Server};

/// The timeout of a reply.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a command to the server in this folder, and returns the reply with one line for each part.
/// A reply that begins with a minus sign is an error.
pub(crate) fn ask(folder: &Path, command: &str) -> io::Result<String> {
    // Connects through the opened folder, whose own path may be too long for a socket address.
    let folder = File::open(folder)?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    read(&mut BufReader::new(stream))
}

/// Sends a command to a server, and fails if the server rejects it.
pub(crate) fn order(server: &Server, command: &str) -> Result<String> {
    match ask(server.folder(), command) {
        Ok(answer) if !answer.starts_with('-') => Ok(answer),
        Ok(answer) => Err(server.failed(format!("`{command}` failed: {answer}"))),
        Err(error) => Err(server.failed(format!("`{command}` got no reply: {error}"))),
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some((kind, length)) = line.trim_end().split_at_checked(1) else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    match (kind, length.parse()) {
        ("*", Ok(count)) => {
            let parts = (0..count).map(|_: usize| read(reader)).collect::<io::Result<Vec<_>>>();
            Ok(parts?.join("\n"))
        }
        ("$", Ok(length)) => {
            let mut text = vec![0; length + "\r\n".len()];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
        }
        _ => Ok(line.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &str) -> String {
        read(&mut bytes.as_bytes()).unwrap()
    }

    #[test]
    fn each_part_of_a_reply_is_a_line() {
        assert_eq!(answer("+PONG\r\n"), "+PONG");
        assert_eq!(answer("-ERR no\r\n"), "-ERR no");
        assert_eq!(answer("$5\r\na\r\nb\n\r\n"), "a\r\nb");
        assert_eq!(answer("*2\r\n*2\r\n$4\r\nname\r\n$1\r\n7\r\n:3\r\n+too much"), "name\n7\n:3");
        assert_eq!(answer("$-1\r\n"), "$-1");
    }

    #[test]
    fn incomplete_reply_is_an_error() {
        assert!(["", "$5\r\nab", "*2\r\n:1\r\n"].iter().all(|half| read(&mut half.as_bytes()).is_err()));
    }
}
