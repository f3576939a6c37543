/** One offered entry of the source: its name, kind, size, time and token. docs/spec/transfer.md */
import type { ByteReader, ByteWriter } from "../base/bytes.ts";
import { PATH_BYTES } from "../base/limits.ts";
import { ID_BYTES, readChoice, readText, writeText } from "./message-fields.ts";

/** What an entry is on the wire. */
export type OfferedKind = "file" | "directory" | "symlink";

/** One offered entry. */
export interface EntryMessage {
  readonly type: "entry";
  /** Number of the entry; ascends by one from 0. */
  readonly object: number;
  readonly kind: OfferedKind;
  readonly path: string;
  /** Size of a file, `undefined` while the source has no end yet (a pipe). 0 for others. */
  readonly sizeBytes: number | undefined;
  /** Permission bits. */
  readonly mode: number;
  /** Microseconds since 1970; `undefined` if the source has none. */
  readonly modifiedAtUs: number | undefined;
  /** Changes whenever the source file may have changed. */
  readonly token: Uint8Array;
  /** Target of a symbolic link, otherwise `""`. */
  readonly target: string;
}

const KINDS: readonly OfferedKind[] = ["file", "directory", "symlink"];

/** Bit of an entry's flags: the size is known. */
const HAS_SIZE = 1;
/** Bit of an entry's flags: the time is known. */
const HAS_TIME = 2;
/** Bit of an entry's flags: the time lies before 1970. */
const NEGATIVE_TIME = 4;

/** Writes the body of an entry. */
export function writeEntry(writer: ByteWriter, entry: EntryMessage): void {
  const time = entry.modifiedAtUs;
  writer.varint(entry.object).uint8(KINDS.indexOf(entry.kind));
  writer.uint8(
    (entry.sizeBytes === undefined ? 0 : HAS_SIZE) |
      (time === undefined ? 0 : HAS_TIME) |
      (time !== undefined && time < 0 ? NEGATIVE_TIME : 0),
  );
  writeText(writer, entry.path);
  writer.varint(entry.sizeBytes ?? 0).uint16(entry.mode & 0o7777);
  writer.varint(Math.abs(time ?? 0)).raw(entry.token);
  writeText(writer, entry.target);
}

/** Reads the body of an entry. @throws DecodeError */
export function readEntry(reader: ByteReader): EntryMessage {
  const object = reader.varint();
  const kind = readChoice(reader, KINDS);
  const flags = reader.uint8();
  const path = readText(reader, PATH_BYTES + 1);
  const sizeBytes = reader.varint();
  const mode = reader.uint16();
  const time = reader.varint();
  const token = reader.copy(ID_BYTES);
  const target = readText(reader, PATH_BYTES);
  return {
    type: "entry",
    object,
    kind,
    path,
    sizeBytes: (flags & HAS_SIZE) === 0 ? undefined : sizeBytes,
    mode,
    modifiedAtUs: (flags & HAS_TIME) === 0 ? undefined : (flags & NEGATIVE_TIME) === 0 ? time : -time,
    token,
    target,
  };
}
