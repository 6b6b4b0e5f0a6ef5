//! Pictures and sound without a model: what is painted follows from text and seed, the files are real PNG and
//! WAV.

use std::io::{self, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// How a picture's points get their colour.
#[derive(Debug, Clone)]
enum PaintRule {
    Flat([u8; 3]),
    Pattern([u8; 32]),
    Pixels { width: u32, height: u32, rgb: Arc<[u8]> },
}

/// A batch of RGB pictures, painted only when written.
#[derive(Debug, Clone)]
pub(super) struct ImageBatch {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) batch: u32,
    inverted: bool,
    paint: PaintRule,
}

impl ImageBatch {
    /// One colour, `0xRRGGBB`.
    pub(super) fn flat(width: u32, height: u32, batch: u32, color: u32) -> Self {
        let [_, red, green, blue] = color.to_be_bytes();
        Self { width, height, batch, inverted: false, paint: PaintRule::Flat([red, green, blue]) }
    }

    /// Bands of colour that follow from `meaning`: the same text and seed give the same picture.
    pub(super) fn pattern(width: u32, height: u32, batch: u32, meaning: &[u8]) -> Self {
        let paint = PaintRule::Pattern(Sha256::digest(meaning).into());
        Self { width, height, batch, inverted: false, paint }
    }

    /// Reads a PNG. Other picture formats, told by their first bytes, become a pattern of 512 by 512.
    /// `None` when it is no picture.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        const OTHERS: [&[u8]; 4] = [b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM"];
        if OTHERS.iter().any(|magic| bytes.starts_with(magic)) {
            return Some(Self::pattern(512, 512, 1, bytes));
        }
        let mut decoder = png::Decoder::new(io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().ok()?;
        let mut buffer = vec![0; reader.output_buffer_size()?];
        let info = reader.next_frame(&mut buffer).ok()?;
        let samples = info.color_type.samples();
        let rgb = buffer[..info.buffer_size()]
            .chunks_exact(samples)
            .flat_map(|point| match *point {
                [red, green, blue, ..] => [red, green, blue],
                [grey, ..] => [grey; 3],
                [] => [0; 3],
            })
            .collect();
        let (width, height) = (info.width, info.height);
        Some(Self {
            width,
            height,
            batch: 1,
            inverted: false,
            paint: PaintRule::Pixels { width, height, rgb },
        })
    }

    /// The same with every colour turned to its opposite.
    pub(super) fn invert(&self) -> Self {
        Self { inverted: !self.inverted, ..self.clone() }
    }

    /// The same at another size; a side of zero keeps the proportions.
    pub(super) fn scale(&self, width: u32, height: u32) -> Self {
        let follow = |own: u32, other: u32, target: u32| (own * target / other.max(1)).max(1);
        let (width, height) = match (width, height) {
            (0, 0) => (self.width, self.height),
            (0, height) => (follow(self.width, self.height, height), height),
            (width, 0) => (width, follow(self.height, self.width, width)),
            both => both,
        };
        Self { width, height, ..self.clone() }
    }

    fn point(&self, x: u32, y: u32, frame: u32) -> [u8; 3] {
        let color = match &self.paint {
            PaintRule::Flat(color) => *color,
            PaintRule::Pattern(seed) => pattern_point(seed, x, y, frame),
            PaintRule::Pixels { width, height, rgb } => {
                let column = u64::from(x) * u64::from(*width) / u64::from(self.width);
                let row = u64::from(y) * u64::from(*height) / u64::from(self.height);
                let at = usize::try_from((row * u64::from(*width) + column) * 3).unwrap_or(usize::MAX);
                rgb.get(at..).and_then(|rest| rest.first_chunk::<3>()).copied().unwrap_or_default()
            }
        };
        if self.inverted { color.map(|part| 255 - part) } else { color }
    }

    /// One picture of the batch as PNG, row by row, with `texts` (ASCII) as tEXt chunks.
    pub(super) fn write_png(&self, frame: u32, texts: &[(String, String)], to: impl Write) -> io::Result<()> {
        let mut encoder = png::Encoder::new(to, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        for (keyword, text) in texts {
            encoder.add_text_chunk(keyword.clone(), text.clone())?;
        }
        let mut writer = encoder.write_header()?;
        let mut rows = writer.stream_writer()?;
        let mut row = Vec::with_capacity(self.width as usize * 3);
        for y in 0..self.height {
            row.clear();
            row.extend((0..self.width).flat_map(|x| self.point(x, y, frame)));
            rows.write_all(&row)?;
        }
        rows.finish()?;
        writer.finish()?;
        Ok(())
    }

    /// A small PNG of the first picture, as a preview shows it.
    pub(super) fn preview_png(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.scale(64, 64).write_png(0, &[], &mut bytes)?;
        Ok(bytes)
    }
}

/// Soft diagonal waves between three colours of the seed.
fn pattern_point(seed: &[u8; 32], x: u32, y: u32, frame: u32) -> [u8; 3] {
    let wave = |at: u32, slope_x: u8, slope_y: u8| {
        let phase = x * u32::from(slope_x % 5 + 1) + y * u32::from(slope_y % 5 + 1) + frame * 64 + at;
        let ramp = phase % 512;
        if ramp < 256 { ramp } else { 511 - ramp }
    };
    let (one, two) =
        (wave(u32::from(seed[9]), seed[10], seed[11]), wave(u32::from(seed[12]), seed[13], seed[14]));
    std::array::from_fn(|part| {
        let [low, high, third] = [seed[part], seed[part + 3], seed[part + 6]].map(u32::from);
        let mixed = (low * (255 - one) + high * one) / 255;
        u8::try_from((mixed * (255 - two / 2) + third * (two / 2)) / 255).unwrap_or(u8::MAX)
    })
}

/// A sine tone.
#[derive(Debug, Clone, Copy)]
pub(super) struct SineTone {
    pub(super) seconds: f64,
    pub(super) hertz: f64,
}

/// Samples a second of a [`SineTone`].
const RATE: u32 = 16_000;

impl SineTone {
    /// The tone as a WAV file: one channel, 16 bits, 16 kHz.
    pub(super) fn wav(self) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to 0..=600 seconds")]
        let samples = (self.seconds.clamp(0.0, 600.0) * f64::from(RATE)) as u32;
        let size = samples * 2;
        let mut wav = Vec::with_capacity(44 + size as usize);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36 + size).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        wav.extend_from_slice(&RATE.to_le_bytes());
        wav.extend_from_slice(&(RATE * 2).to_le_bytes());
        wav.extend_from_slice(b"\x02\0\x10\0data");
        wav.extend_from_slice(&size.to_le_bytes());
        for sample in 0..samples {
            let turn = f64::from(sample) * self.hertz * std::f64::consts::TAU / f64::from(RATE);
            #[expect(clippy::cast_possible_truncation, reason = "a sine times 20,000 fits 16 bits")]
            let level = (turn.sin() * 20_000.0) as i16;
            wav.extend_from_slice(&level.to_le_bytes());
        }
        wav
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(image: &ImageBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_png(0, &[("prompt".to_owned(), "{}".to_owned())], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_png_is_read_back_as_it_was_written() {
        let bytes = png(&ImageBatch::flat(5, 4, 1, 0x12_34_56));
        assert!(bytes.windows(8).any(|window| window == b"tEXtprom"));
        let image = ImageBatch::read(&bytes).unwrap();
        assert_eq!((image.width, image.height), (5, 4));
        assert_eq!(image.point(4, 3, 0), [0x12, 0x34, 0x56]);
        assert_eq!(image.invert().scale(10, 0).point(9, 7, 0), [0xed, 0xcb, 0xa9]);
        assert!(ImageBatch::read(b"no picture").is_none());
    }

    #[test]
    fn a_pattern_follows_from_its_meaning() {
        let one = png(&ImageBatch::pattern(16, 16, 1, b"a cat 1"));
        assert_eq!(one, png(&ImageBatch::pattern(16, 16, 1, b"a cat 1")));
        assert_ne!(one, png(&ImageBatch::pattern(16, 16, 1, b"a cat 2")));
    }

    #[test]
    fn a_tone_is_a_wav_file_of_its_length() {
        let wav = SineTone { seconds: 0.5, hertz: 440.0 }.wav();
        assert_eq!(&wav[..4], b"RIFF");
        assert_eq!(wav.len(), 44 + 16_000);
        assert_eq!(u32::from_le_bytes(*wav[4..].first_chunk().unwrap()) as usize, wav.len() - 8);
    }
}
