//! Frames of smux v1: a header of 8 bytes (version, command, length, stream; the numbers little endian), then `length`
//! bytes. `Update` and `Reset` are only for peers that announced to know them (see the module above).

use super::End;

pub(super) const HEADER: usize = 8;
/// The most data that one frame may bring.
pub(super) const LARGEST: usize = u16::MAX as usize;
/// The most data that one frame of ours carries: small enough for streams to take turns, and half of what GOST sends.
pub(super) const OURS: usize = 16 << 10;
/// The stream named by the NOP with which a side says that it knows windows. To all others it is a keep-alive.
pub(super) const ANNOUNCEMENT: u32 = u32::from_le_bytes(*b"fair");

/// The stream named by the NOP with which a side that knows windows says that it takes no further streams.
pub(super) const RETIREMENT: u32 = u32::from_le_bytes(*b"last");

const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// A new stream.
    Open,
    /// The sender's end of a stream; to a peer without windows the end of both ways.
    End,
    Data,
    /// Keep-alive.
    Nothing,
    /// How many bytes of a stream its reader has taken, and how many the buffer holds: two `u32`.
    Update,
    /// Both ways of a stream are over at once.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) command: Command,
    pub(super) length: u16,
    pub(super) stream: u32,
}

impl Header {
    pub(super) fn empty(command: Command, stream: u32) -> Self {
        Self { command, length: 0, stream }
    }

    /// The first frame's header and data, if the bytes hold all of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, End> {
        let Some((&[version, command, low, high, a, b, c, d], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(End::Protocol(format!("a frame of version {version}")));
        }
        let (length, stream) = (u16::from_le_bytes([low, high]), u32::from_le_bytes([a, b, c, d]));
        let command = match command {
            0 => Command::Open,
            1 => Command::End,
            2 => Command::Data,
            3 => Command::Nothing,
            4 => Command::Update,
            5 => Command::Reset,
            _ => return Err(End::Protocol(format!("a frame with command {command}"))),
        };
        let fits = match command {
            Command::Data => true,
            Command::Update => length == 8,
            Command::Open | Command::End | Command::Nothing | Command::Reset => length == 0,
        };
        if !fits {
            return Err(End::Protocol(format!("a frame {command:?} with {length} bytes")));
        }
        Ok(rest.get(..length.into()).map(|data| (Self { command, length, stream }, data)))
    }

    pub(super) fn bytes(self) -> [u8; HEADER] {
        let command = match self.command {
            Command::Open => 0,
            Command::End => 1,
            Command::Data => 2,
            Command::Nothing => 3,
            Command::Update => 4,
            Command::Reset => 5,
        };
        let ([low, high], [a, b, c, d]) = (self.length.to_le_bytes(), self.stream.to_le_bytes());
        [VERSION, command, low, high, a, b, c, d]
    }
}

/// The content of an `Update`.
pub(super) fn update(consumed: u32, window: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&consumed.to_le_bytes());
    bytes[4..].copy_from_slice(&window.to_le_bytes());
    bytes
}

/// What an `Update` says: consumed, window.
pub(super) fn updated(data: &[u8]) -> Option<(u32, u32)> {
    let (consumed, rest) = data.split_first_chunk()?;
    let window = rest.first_chunk()?;
    Some((u32::from_le_bytes(*consumed), u32::from_le_bytes(*window)))
}
