/** The first message of a transfer: what the side that opened the connection wants. docs/spec/transfer.md */
import type { ByteReader, ByteWriter } from "../base/bytes.ts";
import { PATH_BYTES, REQUEST_PATHS, REQUEST_RULES, RULE_BYTES } from "../base/limits.ts";
import { ID_BYTES, readChoice, readCount, readText, writeText } from "./message-fields.ts";
import type { PathRule } from "./path-rules.ts";
import type { TransferOptions } from "./transfer-options.ts";
import { optionBits, optionsFromBits } from "./transfer-options.ts";

/** Version of the control messages; a peer that does not know it answers VERSION_MISMATCH. */
export const TRANSFER_VERSION = 1;

/** What the opener wants. */
export type RequestMode = "push" | "pull" | "list";

/** First message, by the side that opened the connection. */
export interface RequestMessage {
  readonly type: "request";
  readonly version: number;
  readonly mode: RequestMode;
  readonly options: TransferOptions;
  /** Names the job of a push, so that the same command finds its journal again. */
  readonly transferId: Uint8Array;
  /** Directory below the receiver's root, `""` for the root itself. Only for a push. */
  readonly destination: string;
  /** What to hand out; only for a pull or list. */
  readonly paths: readonly string[];
  readonly rules: readonly PathRule[];
}

const MODES: readonly RequestMode[] = ["push", "pull", "list"];

/** Writes the body of a request. */
export function writeRequest(writer: ByteWriter, request: RequestMessage): void {
  writer.varint(request.version).uint8(MODES.indexOf(request.mode)).varint(optionBits(request.options));
  writer.raw(request.transferId);
  writeText(writer, request.destination);
  writer.varint(request.paths.length);
  for (const path of request.paths) writeText(writer, path);
  writer.varint(request.rules.length);
  for (const rule of request.rules) {
    writer.uint8(rule.include ? 1 : 0);
    writeText(writer, rule.pattern);
  }
}

/** Reads the body of a request. @throws DecodeError */
export function readRequest(reader: ByteReader): RequestMessage {
  const version = reader.varint();
  const mode = readChoice(reader, MODES);
  const options = optionsFromBits(reader.varint());
  const transferId = reader.copy(ID_BYTES);
  const destination = readText(reader, PATH_BYTES);
  const paths: string[] = [];
  for (let left = readCount(reader, REQUEST_PATHS); left > 0; left--)
    paths.push(readText(reader, PATH_BYTES));
  const rules: PathRule[] = [];
  for (let left = readCount(reader, REQUEST_RULES); left > 0; left--)
    rules.push({ include: reader.uint8() !== 0, pattern: readText(reader, RULE_BYTES) });
  return { type: "request", version, mode, options, transferId, destination, paths, rules };
}
