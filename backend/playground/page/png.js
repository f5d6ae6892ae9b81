// Greyscale PNG files with exactly the values that are given: a canvas would write colours, and some browsers add noise.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** A PNG of 8-bit grey values, row by row. */
export async function encodeGrey(values, width, height) {
  const rows = new Uint8Array((width + 1) * height);
  // Each row begins with the number of its filter; 0 is none.
  for (let y = 0; y < height; y++) rows.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8);
  const parts = [chunk("IHDR", new Uint8Array(head.buffer)), chunk("IDAT", await deflate(rows)), chunk("IEND", new Uint8Array())];
  return new Blob([new Uint8Array(SIGNATURE), ...parts], { type: "image/png" });
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, findChecksum(bytes.subarray(4, content.length + 8)));
  return bytes;
}

/** CRC-32, as PNG asks for. */
function findChecksum(bytes) {
  let checksum = ~0;
  for (const byte of bytes) {
    checksum ^= byte;
    for (let bit = 0; bit < 8; bit++) checksum = (checksum >>> 1) ^ (checksum & 1 ? 0xedb88320 : 0);
  }
  return ~checksum >>> 0;
}
