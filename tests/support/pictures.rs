//! Small pictures of one colour, and their pixels.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A PNG file of 8 by 6 pixels of one colour.
pub fn png(color: [u8; 3]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 8, 6);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&color.repeat(48)).unwrap();
    writer.finish().unwrap();
    file
}

/// The same as a data URL.
pub fn data_url(color: [u8; 3]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png(color)))
}

/// The red, green and blue of a PNG file whose pixels are all alike.
pub fn color_of(file: &[u8]) -> [u8; 3] {
    let decoder = png::Decoder::new(std::io::Cursor::new(file));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    pixels.truncate(frame.buffer_size());
    let mut colors = pixels.chunks(frame.color_type.samples()).map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    let first = colors.next().unwrap();
    assert!(colors.all(|color| color == first), "the picture has more than one colour");
    first
}
