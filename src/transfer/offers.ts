/** What a sender offers, one entry after the other, found by walking the sources. */
import { writeUint32 } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { ENTRIES_BEFORE_TOTALS } from "../base/limits.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import type { EntryFacts } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import type { ScannedEntry, ScanOptions, ScanStart, ScanState } from "../files/scan.ts";
import { endScan, scanPage, startScan } from "../files/scan.ts";
import { isSafeLinkTarget, parseSafePath } from "../files/safe-path.ts";
import { printable } from "../files/printable.ts";
import type { ChunkSupply, SourceFile } from "./chunk-supply.ts";
import type { EntryMessage } from "./entry-message.ts";
import { ID_BYTES } from "./message-fields.ts";

/** An entry that is offered. */
export interface Offer {
  readonly entry: EntryMessage;
  /** Contents of a file. */
  readonly source: SourceFile | undefined;
}

/** An entry that is not offered. */
export interface SkippedOffer {
  readonly path: string;
  readonly isFailure: boolean;
  readonly code: ErrorCode;
  readonly text: string;
}

/** The next thing of a feed. */
export type OfferStep =
  | { readonly type: "offer"; readonly offer: Offer }
  | { readonly type: "skipped"; readonly skipped: SkippedOffer }
  /** Nothing yet: `onReady` of the feed will be called. */
  | { readonly type: "wait" }
  | { readonly type: "end" };

/** Entries and bytes of files, as far as a walk ahead saw them. */
export interface OfferTotals {
  readonly entries: number;
  readonly totalBytes: number;
}

/** Where a sender takes its entries from. */
export interface OfferFeed {
  next(): OfferStep;
  /** What all offers will come to, once it was counted ahead; only of long lists. */
  readonly totals?: OfferTotals | undefined;
  /** Releases what the feed holds open. */
  close(): void;
}

/** A source that several senders share: scanned and read once for all of them. */
export interface SharedOffers {
  readonly supply: ChunkSupply;
  /** A feed of its own for one sender, from the first entry on. `onReady` as for `ScannedOffers`. */
  openFeed(onReady: () => void): OfferFeed;
}

/** 16 bytes that differ whenever the file may differ: size, times and identity on disk. */
export function sourceToken(hash: Hash, facts: EntryFacts): Uint8Array {
  const identity = encodeUtf8(facts.identity);
  const bytes = new Uint8Array(24 + identity.length);
  [facts.sizeBytes, facts.modifiedAtUs, facts.changedAtUs].forEach((value, i) => {
    writeUint32(bytes, 8 * i, Math.floor(value / 0x1_0000_0000));
    writeUint32(bytes, 8 * i + 4, value);
  });
  bytes.set(identity, 24);
  return hash(bytes).slice(0, ID_BYTES);
}

/** No token: for entries that have no contents or cannot be read twice. */
export const NO_TOKEN: Uint8Array = new Uint8Array(ID_BYTES);

/** Entries scanned and not yet asked for before the scan pauses. */
const SCANNED_AHEAD = 512;

/** The same while the list is counted: of trees this large the second walk is saved, for half a kilobyte an entry. */
const COUNTED_AHEAD = 16_384;

type MutableTotals = { -readonly [Name in keyof OfferTotals]: OfferTotals[Name] };

function addUp(sum: MutableTotals, page: readonly ScannedEntry[]): void {
  for (const scanned of page) {
    if (scanned.type === "skipped") continue;
    sum.entries++;
    if (scanned.facts.kind === "file") sum.totalBytes += scanned.facts.sizeBytes;
  }
}

/** Offers what a scan of the disk finds. */
export class ScannedOffers implements OfferFeed {
  private readonly runner: DiskRunner;
  private readonly hash: Hash;
  private readonly supply: ChunkSupply;
  private readonly onReady: () => void;
  private readonly scan: ScanState;
  private readonly found: ScannedEntry[] = [];
  /** First of `found` that was not asked for. */
  private foundHead = 0;
  private aheadEntries = SCANNED_AHEAD;
  /** What was scanned so far. */
  private readonly scanned: MutableTotals = { entries: 0, totalBytes: 0 };
  private isScanning = false;
  private hasEnded = false;
  private isClosed = false;
  private nextObject = 0;
  private readonly starts: readonly ScanStart[];
  private counting: ScanState | undefined;
  totals: OfferTotals | undefined;

  /** @param onReady - Called when `next` has more to say than "wait". */
  constructor(
    runner: DiskRunner,
    hash: Hash,
    supply: ChunkSupply,
    starts: readonly ScanStart[],
    options: ScanOptions,
    onReady: () => void,
  ) {
    this.runner = runner;
    this.hash = hash;
    this.supply = supply;
    this.starts = starts;
    this.scan = startScan(starts, options);
    this.onReady = onReady;
  }

  next(): OfferStep {
    if (this.isBehind) this.advance();
    if (this.foundHead === this.found.length) return { type: this.hasEnded ? "end" : "wait" };
    const entry = this.found[this.foundHead++];
    if (this.foundHead >= SCANNED_AHEAD) {
      this.found.splice(0, this.foundHead);
      this.foundHead = 0;
    }
    return this.step(entry);
  }

  private get isBehind(): boolean {
    return this.found.length - this.foundHead < this.aheadEntries;
  }

  /** Learns what all will come to: by scanning on, or from a walk of its own when that is too much to keep. */
  private countAhead(): void {
    if (this.hasEnded || this.scan.options.isShallow === true) return;
    this.aheadEntries = COUNTED_AHEAD;
    this.advance();
  }

  /** Walks the sources a second time, only to count: offering goes on and holds few entries in memory. */
  private countByWalking(): void {
    this.aheadEntries = SCANNED_AHEAD;
    this.counting = startScan(this.starts, this.scan.options);
    this.countPage(this.counting, { entries: 0, totalBytes: 0 });
  }

  private countPage(state: ScanState, sum: MutableTotals): void {
    if (this.isClosed) {
      this.runner.start(endScan(state), () => undefined);
      return;
    }
    this.runner.start(scanPage(state), (page) => {
      addUp(sum, page ?? []);
      if (page !== undefined) this.countPage(state, sum);
      else {
        this.totals = sum;
        if (!this.isClosed) this.onReady();
      }
    });
  }

  close(): void {
    this.isClosed = true;
    if (!this.isScanning) this.runner.start(endScan(this.scan), () => undefined);
  }

  private advance(): void {
    if (this.isScanning || this.hasEnded || this.isClosed) return;
    this.isScanning = true;
    this.runner.start(scanPage(this.scan), (page) => {
      this.isScanning = false;
      if (page === undefined) this.hasEnded = true;
      else this.found.push(...page);
      addUp(this.scanned, page ?? []);
      if (this.isClosed) {
        this.close();
        return;
      }
      if (this.aheadEntries > SCANNED_AHEAD) {
        if (this.hasEnded) this.totals = this.scanned;
        else if (this.isBehind) this.advance();
        else if (this.counting === undefined) this.countByWalking();
      }
      this.onReady();
    });
  }

  private step(scanned: ScannedEntry): OfferStep {
    const path = scanned.name.join("/");
    if (scanned.type === "skipped") {
      const { isFailure, code, text } = scanned;
      return { type: "skipped", skipped: { path, isFailure, code, text } };
    }
    if (this.nextObject === ENTRIES_BEFORE_TOTALS) this.countAhead();
    const { facts } = scanned;
    if (facts.kind === "symlink" && !isSafeLinkTarget(parseSafePath(path), scanned.target)) {
      const text = `skipped the symbolic link ${printable(path)}: it points out of the tree, to ${printable(scanned.target)}`;
      return { type: "skipped", skipped: { path, isFailure: false, code: "UNSAFE_NAME", text } };
    }
    const kind = facts.kind === "symlink" ? "symlink" : facts.kind === "directory" ? "directory" : "file";
    const entry: EntryMessage = {
      type: "entry",
      object: this.nextObject++,
      kind,
      path,
      sizeBytes: kind === "file" ? facts.sizeBytes : 0,
      mode: facts.mode & 0o777,
      modifiedAtUs: facts.modifiedAtUs,
      token: kind === "file" ? sourceToken(this.hash, facts) : NO_TOKEN,
      target: scanned.target,
    };
    const source =
      kind === "file"
        ? this.supply.addFile({ root: scanned.root, path: scanned.path, name: path, facts })
        : undefined;
    return { type: "offer", offer: { entry, source } };
  }
}

/** Offers one file of unknown size that the host fills. */
export class PipeOffer implements OfferFeed {
  private readonly offer: Offer;
  private isOffered = false;

  constructor(supply: ChunkSupply, name: string) {
    const entry: EntryMessage = {
      type: "entry",
      object: 0,
      kind: "file",
      path: name,
      sizeBytes: undefined,
      mode: 0o666,
      modifiedAtUs: undefined,
      token: NO_TOKEN,
      target: "",
    };
    this.offer = { entry, source: supply.addPipe(name) };
  }

  next(): OfferStep {
    if (this.isOffered) return { type: "end" };
    this.isOffered = true;
    return { type: "offer", offer: this.offer };
  }

  close(): void {
    // Nothing is open.
  }
}
