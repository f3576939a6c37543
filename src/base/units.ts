/** Quantities as people write and read them: sizes, rates, durations, percentages. */
import { GodwitError } from "./errors.ts";

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  kib: 1024,
  m: 1e6,
  mb: 1e6,
  mib: 1024 ** 2,
  g: 1e9,
  gb: 1e9,
  gib: 1024 ** 3,
  t: 1e12,
  tb: 1e12,
  tib: 1024 ** 4,
};

/** Bits per second; `MB/s`-like forms count bytes. */
const RATE_UNITS: Readonly<Record<string, number>> = {
  bit: 1,
  kbit: 1e3,
  mbit: 1e6,
  gbit: 1e9,
  "b/s": 8,
  "kb/s": 8e3,
  "mb/s": 8e6,
  "gb/s": 8e9,
  "kib/s": 8 * 1024,
  "mib/s": 8 * 1024 ** 2,
  "gib/s": 8 * 1024 ** 3,
};

/** Microseconds. */
const DURATION_UNITS: Readonly<Record<string, number>> = {
  us: 1,
  ms: 1e3,
  s: 1e6,
  m: 60e6,
  min: 60e6,
  h: 3_600e6,
  d: 86_400e6,
};

function parseQuantity(
  text: string,
  units: Readonly<Record<string, number>>,
  what: string,
  example: string,
): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z/]*)\s*$/i.exec(text);
  const name = match === null ? "" : match[2].toLowerCase();
  const unit = Object.hasOwn(units, name) ? units[name] : undefined;
  const value = match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit;
  if (!(value <= Number.MAX_SAFE_INTEGER)) {
    throw new GodwitError("USAGE", `"${text.slice(0, 40)}" is not a ${what}; write it like ${example}`);
  }
  return value;
}

/** Bytes from `500`, `64k`, `1.5MB`, `16MiB`. @throws GodwitError USAGE. */
export function parseBytes(text: string): number {
  return Math.round(parseQuantity(text, SIZE_UNITS, "size", "500, 64kB, 1.5MB or 16MiB"));
}

/** Bytes per second from `50mbit`, `800kbit`, `6MB/s`. @throws GodwitError USAGE. */
export function parseRate(text: string): number {
  return parseQuantity(text, RATE_UNITS, "rate", "50mbit, 800kbit or 6MB/s") / 8;
}

/** Microseconds from `80ms`, `1.5s`, `2m`, `1h`. @throws GodwitError USAGE. */
export function parseDurationUs(text: string): number {
  return Math.round(parseQuantity(text, DURATION_UNITS, "duration", "80ms, 1.5s, 2m or 1h"));
}

/** A probability in [0, 1] from `5%` or `0.05`. @throws GodwitError USAGE. */
export function parseProbability(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(%?)\s*$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) / (match[2] === "%" ? 100 : 1);
  if (!(value >= 0 && value <= 1)) {
    throw new GodwitError("USAGE", `"${text.slice(0, 40)}" is not a probability; write it like 5% or 0.05`);
  }
  return value;
}

function threeDigits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

/** `0 B`, `999 B`, `1.50 MB`: decimal units, three digits. */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${Math.round(bytes)} B`;
  const names = ["kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1_000;
    unit++;
  } while (value >= 999.5 && unit < names.length - 1);
  return `${threeDigits(value)} ${names[unit]}`;
}

/** `94.1 Mbit/s` from bytes per second. */
export function formatRate(bytesPerSecond: number): string {
  const names = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let value = bytesPerSecond * 8;
  let unit = 0;
  while (value >= 999.5 && unit < names.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 ? value.toFixed(0) : threeDigits(value)} ${names[unit]}`;
}

/** `0.42 s`, `12.3 s`, `4:05`, `2:03:04` from microseconds. */
export function formatDuration(us: number): string {
  const seconds = us / 1e6;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3_600);
  const minutes = Math.floor((whole % 3_600) / 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** `1 file`, `2 files`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
