// What the page asks of the server, and its errors as sentences.

import { readMask } from "./masks.js";

const VISITOR_KEY = "m2n2-visitor";
const LONGEST_WAIT_MILLISECONDS = 120_000;
const GONE = 410;
const OVERTAKEN = 409;

/** A sentence for the visitor. canRetry: the same request may work later. */
export class Problem extends Error {
  constructor(sentence, { canRetry = false, status = 0 } = {}) {
    super(sentence);
    this.canRetry = canRetry;
    this.status = status;
  }

  /** Whether a newer click of the same object was asked before this one was answered, so that nobody waits for it. */
  get isOvertaken() {
    return this.status === OVERTAKEN;
  }
}

/** This tab's number, the same after a reload. */
export function findVisitor() {
  let visitor = sessionStorage.getItem(VISITOR_KEY);
  if (!visitor) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    visitor = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem(VISITOR_KEY, visitor);
  }
  return visitor;
}

/** What the server says of itself: {state, reason, preset, backbone, device, ...}. */
export async function fetchStatus() {
  return (await send("health", { method: "GET" })).json();
}

/** One of the samples, as a file. */
export async function fetchSample(name) {
  const blob = await (await send(`playground/samples/${name}`, { method: "GET" })).blob();
  return new File([blob], name, { type: blob.type });
}

/** Send an image; {digest, width, height} as the server sees it. */
export async function upload(file) {
  const { image, width, height } = await (await post("images", "application/octet-stream", file)).json();
  return { digest: image, width, height };
}

/** Have the image of a file made ready for its first click. */
export async function prepare(image) {
  await askAboutImage(image, "prepare", {});
}

/** The masks of an object in an image: one, or where sizes are wanted all that its newest mark may mean. */
export async function segment(image, object, wantsSizes) {
  const { marks, box, start } = object.prompt;
  const question = { object: object.id, marks, box, start: start && start.runs, sizes: wantsSizes };
  const response = await askAboutImage(image, "segment", question);
  const { masks } = await response.json();
  return masks.map(({ runs }) => readMask(runs, image.width, image.height));
}

/** A question about an image, which is sent once more where the server does not keep it any more. */
async function askAboutImage(image, path, question) {
  const body = JSON.stringify({ image: image.digest, ...question });
  try {
    return await post(path, "application/json", body);
  } catch (problem) {
    if (problem.status !== GONE) throw problem;
  }
  await upload(image.file);
  return post(path, "application/json", body);
}

function post(path, kind, body) {
  const headers = { "Content-Type": kind, "X-M2N2-Visitor": findVisitor() };
  return send(`playground/${path}`, { method: "POST", headers, body });
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(LONGEST_WAIT_MILLISECONDS) });
  } catch (error) {
    const isLate = error.name === "TimeoutError";
    throw new Problem(`The server does not answer${isLate ? " in time" : ". Is it still running?"}`, { canRetry: true });
  }
  if (response.ok) return response;
  throw await readProblem(response);
}

async function readProblem(response) {
  const { status } = response;
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not our server's words, but those of a proxy in front of it.
  }
  if (status === 401) message = "the password was not taken: reload the page";
  if (status === 503) message ||= "the server has too much to do";
  if (status === 413) message ||= "the image is larger than a proxy in front of the server takes";
  return new Problem(makeSentence(message || `the server answered with status ${status}`), {
    status,
    canRetry: status >= 500,
  });
}

function makeSentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
