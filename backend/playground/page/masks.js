// Masks as run lengths: row by row, the first run not set (it may be of no length), the second set, and so on.

/** The mask of the server's run lengths: its size, its area in pixels and its box, right and bottom exclusive. */
export function readMask(runs, width, height) {
  const mask = { runs, width, height, area: 0, key: runs.join(" "), box: null };
  let left = width, right = 0, top = height, bottom = 0;
  eachRun(mask, (begin, end) => {
    const first = Math.floor(begin / width), last = Math.floor((end - 1) / width);
    mask.area += end - begin;
    top = Math.min(top, first);
    bottom = last + 1;
    left = Math.min(left, first === last ? begin % width : 0);
    right = Math.max(right, first === last ? ((end - 1) % width) + 1 : width);
  });
  if (mask.area) mask.box = { left, top, right, bottom };
  return mask;
}

/** Calls back with the begin and the end (exclusive) of every run that is set. */
export function eachRun(mask, found) {
  let place = 0;
  mask.runs.forEach((length, number) => {
    if (number % 2 && length) found(place, place + length);
    place += length;
  });
}

/** Writes the value into every pixel of the mask. pixels: of the whole image, row by row. */
export function fillMask(mask, pixels, value) {
  eachRun(mask, (begin, end) => pixels.fill(value, begin, end));
}

/** The run lengths of COCO, which go column by column. */
export function countColumns(mask) {
  const pixels = new Uint8Array(mask.width * mask.height);
  fillMask(mask, pixels, 1);
  const counts = [];
  let current = 0, length = 0;
  for (let x = 0; x < mask.width; x++) {
    for (let place = x; place < pixels.length; place += mask.width) {
      if (pixels[place] !== current) {
        counts.push(length);
        current = pixels[place];
        length = 0;
      }
      length++;
    }
  }
  counts.push(length);
  return counts;
}
