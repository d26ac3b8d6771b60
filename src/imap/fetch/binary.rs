//! BINARY\[...] and BINARY.SIZE\[...]: content with its transfer encoding undone (RFC 9051 §6.4.5, RFC 3516).

use ekitei_mailstore::structure::{Content, Span};

use super::answer::{Answer, Missed, PIECE, Trouble};
use super::source::{Source, range};
use crate::proto::section::{PartPath, Partial};
use crate::transfer::TransferDecoder;

/// A part as BINARY sees it.
struct Encoded {
    span: Span,
    decoder: TransferDecoder,
}

/// What comes out of a decoder.
#[derive(Clone, Copy, Debug, Default)]
struct Decoded {
    size: u64,
    /// There is a NUL in it.
    nul: bool,
}

impl Answer<'_> {
    pub(super) async fn binary(&mut self, path: &PartPath, partial: Option<Partial>) -> Result<(), Missed> {
        let origin = partial.map(|partial| partial.offset);
        let Some(part) = self.encoded(path)? else {
            let (writer, out) = self.response();
            writer.binary(out, path, origin, None);
            return Ok(());
        };
        if part.span.length > PIECE {
            return self.large_binary(path, part, partial).await;
        }
        let mut decoder = part.decoder;
        let mut octets = Vec::new();
        decoder.feed(&self.read_all(part.span).await?, &mut octets);
        decoder.finish(&mut octets);
        let (start, end) = range(partial, octets.len() as u64);
        let (writer, out) = self.response();
        writer.binary(out, path, origin, Some(&octets[start as usize..end as usize]));
        Ok(())
    }

    pub(super) async fn binary_size(&mut self, path: &PartPath) -> Result<(), Missed> {
        let size = match self.encoded(path)? {
            None => 0,
            Some(part) => self.measure(&part).await?.size,
        };
        let (writer, out) = self.response();
        writer.binary_size(out, path, size);
        Ok(())
    }

    /// Where a part is, and how it is decoded; `None` if there is no such part.
    fn encoded(&self, path: &PartPath) -> Result<Option<Encoded>, Trouble> {
        if path.0.is_empty() {
            let Source::Octets(span) = self.whole()? else { return Ok(None) };
            return Ok(Some(Encoded { span, decoder: TransferDecoder::Identity }));
        }
        let record = self.record()?;
        let Some(part) = record.structure.find(&path.0) else { return Ok(None) };
        // Parts that have parts inside have no encoding of their own (RFC 2045 §6.4).
        let decoder = match part.content {
            Content::Leaf => TransferDecoder::new(&part.fields.encoding).ok_or(Trouble::UnknownEncoding)?,
            _ => TransferDecoder::Identity,
        };
        Ok(Some(Encoded { span: part.body, decoder }))
    }

    /// What decoding will give. It has to be known before the literal, and is not kept: the octets are read twice.
    async fn measure(&self, part: &Encoded) -> Result<Decoded, Trouble> {
        if part.decoder.is_identity() {
            // There may be a NUL; a literal8 is right in any case.
            return Ok(Decoded { size: part.span.length, nul: true });
        }
        let (span, mut decoder) = (part.span, part.decoder.clone());
        let (mut decoded, mut at, mut octets) = (Decoded::default(), span.offset, Vec::new());
        while at < span.end() {
            let piece = self.piece(at, span.end()).await?;
            at += piece.len() as u64;
            decoder.feed(&piece, &mut octets);
            decoded.count(&mut octets);
        }
        decoder.finish(&mut octets);
        decoded.count(&mut octets);
        Ok(decoded)
    }

    async fn large_binary(
        &mut self,
        path: &PartPath,
        part: Encoded,
        partial: Option<Partial>,
    ) -> Result<(), Missed> {
        let Decoded { size, nul } = self.measure(&part).await?;
        let (start, end) = range(partial, size);
        let (writer, out) = self.response();
        writer.binary_header(out, path, partial.map(|partial| partial.offset), end - start, nul);
        let Encoded { span, mut decoder } = part;
        let (mut at, mut done, mut octets) = (span.offset, 0, Vec::new());
        while done < end {
            if at < span.end() {
                let piece = self.piece(at, span.end()).await.map_err(|trouble| self.broken(trouble))?;
                at += piece.len() as u64;
                decoder.feed(&piece, &mut octets);
            } else {
                decoder.finish(&mut octets);
            }
            let length = octets.len() as u64;
            let (from, to) = (start.clamp(done, done + length) - done, end.clamp(done, done + length) - done);
            let wanted = bytes::Bytes::copy_from_slice(&octets[from as usize..to as usize]);
            self.wire.send(&wanted).await?;
            done += length;
            octets.clear();
        }
        Ok(())
    }
}

impl Decoded {
    /// Counts octets and throws them away.
    fn count(&mut self, octets: &mut Vec<u8>) {
        self.size += octets.len() as u64;
        self.nul |= octets.contains(&0);
        octets.clear();
    }
}
