//! Bytes as they come, cut into lines of limited length. Pure.

/// Collects what comes until there is a whole line.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    limit: usize,
}

/// A line is longer than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// `limit` is for a line with its end, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, limit }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its end.
    pub(super) fn take(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| end + self.searched) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() >= self.limit { Err(TooLong) } else { Ok(None) };
        };
        if end >= self.limit {
            return Err(TooLong);
        }
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        line.pop();
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&str]) -> Result<Vec<String>, TooLong> {
        let mut lines = Lines::new(8);
        let mut all = Vec::new();
        for piece in pieces {
            lines.push(piece.as_bytes());
            while let Some(line) = lines.take()? {
                all.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
        Ok(all)
    }

    #[test]
    fn lines_are_found_however_they_are_cut_and_limited() {
        for (pieces, want) in [
            (&["one\ntwo\n"][..], Ok(vec!["one", "two"])),
            (&["o", "n", "e", "\n", "\n\ntw"], Ok(vec!["one", "", ""])),
            (&["1234567\n"], Ok(vec!["1234567"])),
            (&["12345678\n"], Err(TooLong)),
            (&["1234", "5678"], Err(TooLong)),
            (&["a\nb\nc\nd\ne\nf\ng\nh\n"], Ok(vec!["a", "b", "c", "d", "e", "f", "g", "h"])),
        ] {
            assert_eq!(cut(pieces), want.map(|lines| lines.into_iter().map(str::to_owned).collect()), "{pieces:?}");
        }
    }
}
