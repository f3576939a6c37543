/**
 * Failures of single files as they are told to a person: each once. Where nothing of a transfer is complete,
 * its first failure may be its last word, so that one waits until something else is told, or moves.
 */
import type { TransferUpdate } from "../api/transfer.ts";
import { shown } from "./output.ts";

/** Tells the failures of one transfer. */
export class FailureLines {
  private readonly tell: (line: string) => void;
  private held: { readonly text: string; readonly line: string } | undefined;
  private hasTold = false;
  /** Verified bytes and complete files at the latest progress. */
  private moved = 0;

  /** Lines go to `tell`, safe for a terminal. */
  constructor(tell: (line: string) => void) {
    this.tell = tell;
  }

  /** Takes an update of the transfer. */
  handle(update: TransferUpdate): void {
    if (update.type === "progress") {
      const moved = update.verifiedBytes + update.committedFiles;
      if (moved > this.moved) this.flush();
      this.moved = moved;
      if (update.committedFiles > 0) this.hasTold = true;
      return;
    }
    if (update.type !== "file-failed") return;
    const { path, text } = update;
    // Most sentences name the file themselves.
    const line = text.includes(path) ? shown(text) : `${shown(path)}: ${shown(text)}`;
    this.flush();
    if (this.hasTold) this.tell(line);
    else this.held = { text, line };
    this.hasTold = true;
  }

  /** The transfer is over; `text` is what will be said of it, `undefined` where that names no failure. */
  end(text: string | undefined): void {
    if (this.held?.text === text) this.held = undefined;
    this.flush();
  }

  private flush(): void {
    if (this.held === undefined) return;
    this.tell(this.held.line);
    this.held = undefined;
  }
}
