/** What a receiver answers about each offered entry: counted, told to observers and to the sender. */
import { toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import type { EventQueue } from "../events/queue.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { IncomingFile } from "./incoming-file.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { ControlMessage } from "./messages.ts";
import { NO_HASH } from "./messages.ts";
import { DurableEntries } from "./receipt.ts";
import { Tally } from "./tally.ts";

/** The verdicts of one transfer. */
export class EntryVerdicts {
  readonly tally: Tally;
  /** Entries that have a verdict. */
  answered = 0;
  /** A failure that ends the whole transfer. */
  fatal: GodwitError | undefined;
  private readonly messages: MessageQueue;
  private readonly events: EventQueue;

  constructor(hash: Hash, messages: MessageQueue, events: EventQueue) {
    this.tally = new Tally(new DurableEntries(hash));
    this.messages = messages;
    this.events = events;
  }

  /** The last word on an entry. */
  answer(message: ControlMessage): void {
    this.answered++;
    this.messages.add(message);
  }

  /** The entry is not taken, or was given up. */
  refuse(entry: EntryMessage, code: ErrorCode, text: string): void {
    this.tally.addFailure(entry.path, code, text);
    this.events.add({ type: "file-failed", path: entry.path, code, text });
    this.answer({ type: "refuse", object: entry.object, code, text });
  }

  /** The disk does not take the entry; a full one ends the transfer. */
  refuseDisk(entry: EntryMessage, errno: string): void {
    const code = destinationErrorCode(errno);
    if (code === "NO_SPACE")
      this.fatal ??= new GodwitError(code, diskText(entry, errno), { path: entry.path });
    else this.refuse(entry, code, diskText(entry, errno));
  }

  /** What is there already is what was offered. */
  answerUnchanged(entry: EntryMessage): void {
    this.tally.unchangedFiles++;
    this.events.add({ type: "file-skipped", path: entry.path, reason: "unchanged" });
    this.answer({ type: "committed", object: entry.object, state: "unchanged", root: NO_HASH });
  }

  /** A file is durable under its final name. */
  commit(file: IncomingFile, root: Uint8Array): void {
    const sizeBytes = file.sizeBytes ?? 0;
    this.tally.files++;
    this.tally.bytes += sizeBytes;
    this.tally.durable?.add(file.entry, sizeBytes, root);
    this.events.add({ type: "file-committed", path: file.entry.path, sizeBytes, root: toHex(root) });
    this.answer({ type: "committed", object: file.object, state: "committed", root });
  }
}

/** A sentence about an entry that the disk refused. */
export function diskText(entry: EntryMessage, errno: string): string {
  return `cannot write ${printable(entry.path)}: ${errnoText(errno)}`;
}
