// The outlines of masks, along the sides of their pixels. A ring is [x, y, x, y, ...], closed without saying so.

import { eachRun } from "./masks.js";

// Steps to the right, down, left and up, and the pixels that lie ahead of a corner on either hand.
const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]];
const RIGHT_HAND = [[0, 0], [-1, 0], [-1, -1], [0, -1]];
const LEFT_HAND = [[0, -1], [0, 0], [-1, 0], [-1, -1]];

/** All rings of a mask. Outer ones go clockwise, holes the other way. */
export function traceRings(mask) {
  if (!mask.box) return [];
  const grid = cutBox(mask);
  const seen = new Uint8Array(grid.pixels.length);
  const rings = [];
  for (let y = 0; y < grid.height; y++) {
    for (let x = 0; x < grid.width; x++) {
      const isTopSide = grid.has(x, y) && !grid.has(x, y - 1);
      if (isTopSide && !seen[y * grid.width + x]) rings.push(walk(grid, seen, x, y));
    }
  }
  return rings.map((ring) => ring.map((value, place) => value + (place % 2 ? mask.box.top : mask.box.left)));
}

/** The pieces of a mask as {outline, holes}, largest first, no side further than the tolerance from the exact one. */
export function findPolygons(mask, tolerancePixels) {
  const rings = traceRings(mask).map((ring) => ({ ring, area: measureArea(ring) }));
  const pieces = rings.filter(({ area }) => area > 0).sort((one, other) => other.area - one.area);
  const polygons = pieces.map(({ ring }) => ({ outline: simplify(ring, tolerancePixels), holes: [] }));
  for (const { ring } of rings.filter(({ area }) => area < 0)) {
    // The pixel below the ring's first side belongs to the piece around the hole; of those around it, the smallest.
    const place = pieces.findLastIndex((piece) => isInside(piece.ring, ring[0] + 0.5, ring[1] + 0.5));
    polygons[place].holes.push(simplify(ring, tolerancePixels));
  }
  return polygons;
}

function cutBox(mask) {
  const { left, top, right, bottom } = mask.box;
  const width = right - left, height = bottom - top;
  const pixels = new Uint8Array(width * height);
  eachRun(mask, (begin, end) => {
    for (let place = begin; place < end; ) {
      const y = Math.floor(place / mask.width), rowEnd = Math.min(end, (y + 1) * mask.width);
      pixels.fill(1, (y - top) * width + (place % mask.width) - left, (y - top) * width + rowEnd - y * mask.width - left);
      place = rowEnd;
    }
  });
  const has = (x, y) => x >= 0 && y >= 0 && x < width && y < height && pixels[y * width + x] === 1;
  return { pixels, width, height, has };
}

/** One ring, with the mask on its right hand, from the upper left corner of a pixel whose top side is on it. */
function walk(grid, seen, startX, startY) {
  const ring = [startX, startY];
  let x = startX, y = startY, direction = 0;
  do {
    if (direction === 0) seen[y * grid.width + x] = 1;
    x += STEPS[direction][0];
    y += STEPS[direction][1];
    const turn = findTurn(grid, x, y, direction);
    if (turn) ring.push(x, y);
    direction = (direction + turn) % 4;
  } while (x !== startX || y !== startY || direction !== 0);
  // The last corner is the first one again.
  return ring.slice(0, ring.length - 2);
}

/** 1 to the right, 3 to the left, 0 straight on. Pixels that only touch at a corner are no neighbours. */
function findTurn(grid, x, y, direction) {
  const [rightX, rightY] = RIGHT_HAND[direction], [leftX, leftY] = LEFT_HAND[direction];
  if (!grid.has(x + rightX, y + rightY)) return 1;
  return grid.has(x + leftX, y + leftY) ? 3 : 0;
}

/** In pixels; below 0 for holes. */
function measureArea(ring) {
  let twice = 0;
  for (let place = 0; place < ring.length; place += 2) {
    const next = (place + 2) % ring.length;
    twice += ring[place] * ring[next + 1] - ring[next] * ring[place + 1];
  }
  return twice / 2;
}

function isInside(ring, x, y) {
  let inside = false;
  for (let place = 0; place < ring.length; place += 2) {
    const next = (place + 2) % ring.length;
    const [x1, y1, x2, y2] = [ring[place], ring[place + 1], ring[next], ring[next + 1]];
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) inside = !inside;
  }
  return inside;
}

/** Fewer vertices, by Douglas and Peucker; [[x, y], ...]. Exact where fewer would leave no area. */
function simplify(ring, tolerancePixels) {
  const points = [];
  for (let place = 0; place < ring.length; place += 2) points.push([ring[place], ring[place + 1]]);
  const far = findFarthest([...points, points[0]], 0, points.length).place;
  const kept = simplifyLine([...points, points[0]], [0, far, points.length], tolerancePixels);
  return kept.length < 3 ? points : kept;
}

/** The points of a closed line that are kept, the last of which is the first again and left out. */
function simplifyLine(points, fixed, tolerancePixels) {
  const kept = new Set(fixed);
  const open = fixed.slice(1).map((end, number) => [fixed[number], end]);
  while (open.length) {
    const [begin, end] = open.pop();
    const { place, distance } = findFarthest(points, begin, end);
    if (distance > tolerancePixels) {
      kept.add(place);
      open.push([begin, place], [place, end]);
    }
  }
  return points.slice(0, -1).filter((_, place) => kept.has(place));
}

/** The point between two others of a line that is farthest from the straight way between them. */
function findFarthest(points, begin, end) {
  const [x1, y1] = points[begin], [x2, y2] = points[end];
  const length = Math.hypot(x2 - x1, y2 - y1);
  let place = begin, distance = 0;
  for (let each = begin + 1; each < end; each++) {
    const [x, y] = points[each];
    const away = length ? Math.abs((x2 - x1) * (y1 - y) - (x1 - x) * (y2 - y1)) / length : Math.hypot(x - x1, y - y1);
    if (away > distance) [place, distance] = [each, away];
  }
  return { place, distance };
}
