/** Recorded exchanges of the original programs: test/vectors/classic/*.json. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fromHex } from "../../src/base/bytes.ts";

/** One recorded datagram. */
export interface RecordedDatagram {
  readonly t_ms: number;
  readonly dir: "c2s" | "s2c";
  readonly client: number;
  /** `forwarded`, `dropped`, `delayed Nms` or `duplicate-injected`: what the recording relay did with it. */
  readonly action: string;
  readonly hex: string;
  readonly receiver?: string;
}

/** One recording. */
export interface ClassicVector {
  readonly vector: string;
  readonly note: string;
  readonly files?: readonly { readonly size: number; readonly sha256?: string; readonly hex?: string }[];
  readonly result: Readonly<Record<string, unknown>>;
  readonly datagrams: readonly RecordedDatagram[];
}

/** Loads a recording by its name without the ending. */
export function loadVector(name: string): ClassicVector {
  const url = new URL(`../vectors/classic/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as ClassicVector;
}

/** The bytes of a recorded datagram. */
export function bytesOf(datagram: RecordedDatagram): Uint8Array {
  return fromHex(datagram.hex);
}

/** SHA-256 in hexadecimal, to compare with a recording's `sha256`. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
