// Links that reproduce a text. The fragment of the address contains the request.

import { MAX_LENGTH } from "./state.js";

export function linkTo(request, length) {
  const { model, prime, temperature, seed, top_k, top_p, stop, unknown, branches } = request;
  const short = { m: model, p: prime, t: temperature, n: Math.max(request.length, length), s: seed };
  const lists = { u: JSON.stringify(stop), b: JSON.stringify(branches) };
  const rare = { ...(top_k && { k: top_k }), ...(top_p < 1 && { tp: top_p }), ...(unknown === "skip" && { x: 1 }) };
  return `${location.origin}${location.pathname}#${new URLSearchParams({ ...short, ...rare, ...lists })}`;
}

const within = (low, high) => (value) => Number.isFinite(value) && value >= low && value <= high;
const whole = (high, low = 0) => (value) => Number.isInteger(value) && value >= low && value <= high;
const text = (longest, shortest = 0) => (value) =>
  typeof value === "string" && value.length >= shortest && value.length <= longest;
const list = (longest, valid) => (value) => Array.isArray(value) && value.length <= longest && value.every(valid);
const isCharacter = (value) => typeof value === "string" && [...value].length === 1;
const isBranch = (value) =>
  Array.isArray(value) && value.length === 2 && whole(MAX_LENGTH - 1)(value[0]) && isCharacter(value[1]);

// The same limits as in openapi.json.
const VALID = {
  model: text(200),
  prime: text(5000),
  temperature: within(0.05, 10),
  length: whole(MAX_LENGTH, 1),
  seed: whole(Number.MAX_SAFE_INTEGER),
  top_k: whole(1000000),
  top_p: within(1e-6, 1),
  stop: list(8, text(100, 1)),
  unknown: () => true,
  branches: list(1000, isBranch),
};

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

// Return the request in a fragment as {request}, or {invalid: field}; null if the fragment is not a link.
export function readLink(fragment) {
  const link = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!link.has("s")) return null;
  const request = {
    model: link.get("m") ?? "",
    prime: link.get("p") ?? "",
    temperature: Number(link.get("t") ?? 1),
    length: Number(link.get("n") ?? 500),
    seed: Number(link.get("s")),
    top_k: Number(link.get("k") ?? 0),
    top_p: Number(link.get("tp") ?? 1),
    stop: parsed(link.get("u") ?? "[]"),
    unknown: link.get("x") === "1" ? "skip" : "error",
    branches: parsed(link.get("b") ?? "[]"),
  };
  const invalid = Object.keys(VALID).find((field) => !VALID[field](request[field]));
  return invalid ? { invalid } : { request };
}
