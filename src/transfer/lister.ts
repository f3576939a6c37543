/** Answers a list request: the entries of a directory, or one entry, without contents. */
import type { OfferFeed } from "./offers.ts";
import type { MessageQueue } from "./control-stream.ts";
import { Tally } from "./tally.ts";

/** Control bytes waiting before the listing pauses. */
const CONTROL_AHEAD_BYTES = 128 * 1024;

/** Sends a listing. */
export class Lister {
  readonly tally = new Tally();
  private readonly feed: OfferFeed;
  private readonly messages: MessageQueue;
  private entries = 0;
  private bytes = 0;
  /** Everything was put into the control stream. */
  hasEnded = false;

  constructor(feed: OfferFeed, messages: MessageQueue) {
    this.feed = feed;
    this.messages = messages;
  }

  /** Lists on while there is room in the control stream. */
  pump(): void {
    while (!this.hasEnded && this.messages.sizeBytes < CONTROL_AHEAD_BYTES) {
      const step = this.feed.next();
      if (step.type === "wait") return;
      if (step.type === "offer") {
        this.entries++;
        this.bytes += step.offer.entry.sizeBytes ?? 0;
        this.messages.add(step.offer.entry);
      } else if (step.type === "skipped") {
        const { path, isFailure, code, text } = step.skipped;
        if (isFailure) this.tally.addFailure(path, code, text);
        else this.tally.skippedEntries++;
        this.messages.add({ type: "skipped", path, isFailure, code, text });
      } else {
        this.hasEnded = true;
        this.messages.add({ type: "entries-end", entries: this.entries, totalBytes: this.bytes });
      }
    }
  }

  /** Releases what is open. */
  stop(): void {
    this.feed.close();
  }
}
