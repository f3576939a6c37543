/** The end of a transfer that begins it: sends the request, then is the sender or the receiver. */
import { equalBytes } from "../base/bytes.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import { GodwitError } from "../base/errors.ts";
import { MANIFEST_ENTRIES } from "../base/limits.ts";
import type { DiskPath } from "../files/disk.ts";
import { destinationErrorCode, errnoText, sourceErrorCode } from "../files/disk-errors.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { ScanStart } from "../files/scan.ts";
import { jobName } from "../files/staging-name.ts";
import type { OfferedKind } from "./entry-message.ts";
import type { ControlMessage } from "./messages.ts";
import type { PathRule } from "./path-rules.ts";
import type { TransferOptions } from "./transfer-options.ts";
import { ID_BYTES } from "./message-fields.ts";
import { TRANSFER_VERSION } from "./request-message.ts";
import { DEFAULT_OPTIONS } from "./transfer-options.ts";
import type { OfferFeed } from "./offers.ts";
import { PipeOffer, ScannedOffers } from "./offers.ts";
import { compileRules } from "./path-rules.ts";
import { PipeReceiver } from "./pipe-receiver.ts";
import { Receiver } from "./receiver.ts";
import type { RelayMessage } from "./relay/relay-messages.ts";
import { isRelayMessage } from "./relay/relay-messages.ts";
import { requestedEntries } from "./requested-entries.ts";
import { receiptMessage, type SignedReceipt } from "./receipt.ts";
import { Sender } from "./sender.ts";
import type { SessionHost } from "./session.ts";
import { TransferSession } from "./session.ts";
import { Tally } from "./tally.ts";

/** One thing to send. */
export interface PushSource {
  /** Directory on this machine that holds it, in the host's own form. */
  readonly location: string;
  /** Path below `location`; `[]` for its contents. */
  readonly path: DiskPath;
  /** Name for the receiver; `[]` for contents without a directory of their own. */
  readonly name: DiskPath;
}

/** What the client wants. */
export type ClientRequest =
  | {
      readonly mode: "push";
      readonly sources: readonly PushSource[];
      /** Directory below the receiver's root, `""` for the root. */
      readonly destination: string;
      readonly options: TransferOptions;
      readonly rules: readonly PathRule[];
    }
  | {
      /** Sends bytes that the host offers as one file of unknown size. */
      readonly mode: "push-pipe";
      readonly name: string;
      readonly destination: string;
      readonly options: TransferOptions;
    }
  | {
      readonly mode: "pull";
      readonly paths: readonly string[];
      /** Directory on this machine; made if it is missing. */
      readonly into: string;
      readonly options: TransferOptions;
      readonly rules: readonly PathRule[];
    }
  | {
      /** Gets one file as a stream, by `takePipeBytes`. */
      readonly mode: "pull-pipe";
      readonly path: string;
    }
  | {
      /** Lists what the peer hands out at these paths; `""` is its root. By `takeListed`. */
      readonly mode: "list";
      readonly paths: readonly string[];
    };

/** An entry that a peer listed. Its strings come from the peer: escape them where they are shown. */
export interface ListedEntry {
  readonly path: string;
  readonly kind: OfferedKind;
  readonly sizeBytes: number | undefined;
  readonly mode: number;
  readonly modifiedAtUs: number | undefined;
  readonly target: string;
}

/** 16 bytes that are the same for the same command: names the job, so that it can be resumed. */
function transferId(hash: Hash, request: ClientRequest): Uint8Array {
  const parts: string[] = [request.mode];
  if (request.mode === "pull" || request.mode === "list") parts.push(...request.paths);
  else if (request.mode === "pull-pipe") parts.push(request.path);
  else {
    parts.push(request.destination);
    if (request.mode === "push")
      for (const { location, path, name } of request.sources) parts.push(location, ...path, "", ...name, "");
    else parts.push(request.name);
  }
  return hash(encodeUtf8(parts.map((part) => `${part.length}:${part}`).join(""))).slice(0, ID_BYTES);
}

/** Begins a transfer. */
export class ClientSession extends TransferSession {
  private readonly request: ClientRequest;

  constructor(host: SessionHost, request: ClientRequest, nowUs: number) {
    super(host);
    this.request = request;
    const { hash, peerFingerprint, peerAddress } = host;
    const id = transferId(hash, request);
    const isPush = request.mode === "push" || request.mode === "push-pipe";
    if (request.mode !== "list")
      this.events.add({
        type: "transfer-started",
        role: isPush ? "sender" : "receiver",
        peerFingerprint,
        peerAddress,
      });
    this.messages.add({
      type: "request",
      version: TRANSFER_VERSION,
      mode: isPush ? "push" : request.mode === "list" ? "list" : "pull",
      options: "options" in request ? request.options : DEFAULT_OPTIONS,
      transferId: id,
      destination: isPush ? request.destination : "",
      paths: "paths" in request ? request.paths : "path" in request ? [request.path] : [],
      rules: request.mode === "pull" ? request.rules : [],
    });
    host.laneRelay?.attach(this.messages);
    this.guard(() => this.begin(id));
    this.handleTimeout(nowUs);
  }

  /** Takes bytes for a `push-pipe` and returns how many there was room for. */
  offerPipeBytes(bytes: Uint8Array): number {
    const accepted = this.supply.offerPipeBytes(bytes);
    this.sender?.pump();
    return accepted;
  }

  /** Bytes that `offerPipeBytes` would take now. */
  get pipeRoomBytes(): number {
    return this.supply.pipeRoomBytes;
  }

  /** The pipe has ended: no more bytes. */
  endPipe(nowUs: number): void {
    this.supply.endPipe();
    this.sender?.pump();
    this.handleTimeout(nowUs);
  }

  /** For a `pull-pipe`: the next verified bytes, or `undefined` while there are none. */
  takePipeBytes(nowUs: number): Uint8Array | undefined {
    const bytes = this.pipeReceiver?.takePipeBytes();
    if (bytes !== undefined) this.handleTimeout(nowUs);
    return bytes;
  }

  /** For a `list`: the entries since the last call. */
  takeListed(): ListedEntry[] {
    return this.listed.splice(0);
  }

  private readonly listed: ListedEntry[] = [];
  private readonly listTally = new Tally();
  private listedCount = 0;
  private pipeReceiver: PipeReceiver | undefined;

  protected override get tally(): Tally {
    return this.request.mode === "list" ? this.listTally : super.tally;
  }

  protected override get isAskedHere(): boolean {
    return true;
  }

  private begin(id: Uint8Array): void {
    const { request } = this;
    const { shared } = this.host;
    if (request.mode === "push" && shared !== undefined)
      this.startSender(shared.openFeed(() => this.sender?.pump()));
    else if (request.mode === "push") this.openSources(request, []);
    else if (request.mode === "push-pipe") {
      const feed = new PipeOffer(this.supply, request.name);
      this.startSender(feed);
    } else if (request.mode === "pull") this.openInto(request, id);
    else if (request.mode === "pull-pipe") {
      this.pipeReceiver = new PipeReceiver(this.host.hash, this.messages, this.events);
      this.receiver = this.pipeReceiver;
    }
  }

  private startSender(feed: OfferFeed): void {
    const { supply, messages, events } = this;
    this.sender = new Sender({
      hash: this.host.hash,
      supply,
      feed,
      messages,
      events,
      isSparse: "options" in this.request && this.request.options.sparse,
      keepsList: this.host.receipts?.keepsList ?? false,
      dealing: this.host.laneRelay,
    });
    this.sender.pump();
  }

  /** Opens the places of the sources one after the other; the same place once. */
  private openSources(request: ClientRequest & { mode: "push" }, starts: readonly ScanStart[]): void {
    const source = request.sources[starts.length];
    if (source === undefined) {
      const filter = compileRules(request.rules);
      const options = { sendsLinks: request.options.links, filter };
      const { runner, supply } = this;
      this.startSender(
        new ScannedOffers(runner, this.host.hash, supply, starts, options, () => this.sender?.pump()),
      );
      return;
    }
    const { path, name } = source;
    const same = request.sources.findIndex(({ location }) => location === source.location);
    const opened = starts[same];
    if (opened !== undefined) {
      this.openSources(request, [...starts, { root: opened.root, path, name }]);
      return;
    }
    this.openRoot(
      source.location,
      false,
      (root) => this.openSources(request, [...starts, { root, path, name }]),
      (errno) =>
        this.end(
          sourceErrorCode(errno),
          `cannot open ${printable(source.location)}: ${errnoText(errno)}`,
          `the sender cannot open ${printable(source.name.join("/"))}: ${errnoText(errno)}`,
        ),
    );
  }

  private openInto(request: ClientRequest & { mode: "pull" }, id: Uint8Array): void {
    this.openRoot(
      request.into,
      true,
      (root) => {
        const { host, runner, messages, events } = this;
        this.receiver = new Receiver({
          hash: host.hash,
          runner,
          messages,
          events,
          root,
          destination: undefined,
          options: request.options,
          umask: host.umask,
          memory: host.receiveMemory,
          job: jobName(host.hash, host.peerKey, id),
          isRequested: requestedEntries(request.paths, request.rules),
        });
        const early = this.early.splice(0);
        this.guard(() => {
          for (const message of early) this.handleMessage(message);
        });
      },
      (errno) =>
        this.end(
          destinationErrorCode(errno),
          `cannot open ${printable(request.into)}: ${errnoText(errno)}`,
          `the receiver cannot open its directory: ${errnoText(errno)}`,
        ),
    );
  }

  private handleListed(message: ControlMessage): void {
    if (message.type === "entry") {
      if (++this.listedCount > MANIFEST_ENTRIES)
        throw new GodwitError("OVER_LIMIT", "the peer listed more entries than this side takes");
      const { path, kind, sizeBytes, mode, modifiedAtUs, target } = message;
      this.listed.push({ path, kind, sizeBytes, mode, modifiedAtUs, target });
    } else if (message.type === "skipped") {
      if (message.isFailure) this.listTally.addFailure(message.path, message.code, message.text);
      else this.listTally.skippedEntries++;
    } else if (message.type === "entries-end") this.end(undefined, "");
    else throw new GodwitError("PROTOCOL_VIOLATION", `the peer sent ${message.type} in a listing`);
  }

  /** Messages that came before the destination was open: at most a stream window of them. */
  private readonly early: ControlMessage[] = [];

  /** RECEIPTS §4: the receiver must sign what this side knows to be true, with the key of this connection. */
  private takeReceipt(message: ControlMessage & { readonly type: "receipt" }, sender: Sender): void {
    const { receipts, peerKey, hash } = this.host;
    if (receipts === undefined) return;
    const { durable, files, bytes } = sender.tally;
    const isSame =
      durable !== undefined &&
      equalBytes(durable.root(), message.root) &&
      durable.size === message.entries &&
      files === message.files &&
      bytes === message.bytes;
    if (!isSame)
      throw new GodwitError("PROTOCOL_VIOLATION", "the receiver signed a receipt for something else");
    const id = transferId(hash, this.request);
    if (!receipts.verify(peerKey, receiptMessage(message, id, receipts.ownKey, peerKey), message.signature))
      throw new GodwitError("BAD_SIGNATURE", "the signature of the receiver's receipt does not hold");
    const { root, entries, flushedAtMs, signature } = message;
    const keys = { senderKey: receipts.ownKey, receiverKey: peerKey };
    const list = durable.kept();
    this.signedReceipt = {
      root,
      entries,
      files,
      bytes,
      flushedAtMs,
      transferId: id,
      ...keys,
      signature,
      list,
    };
  }

  private signedReceipt: SignedReceipt | undefined;

  /** The receiver's signed word for a push; `undefined` until it came. */
  get receipt(): SignedReceipt | undefined {
    return this.signedReceipt;
  }

  private handleRelayMessage(message: RelayMessage, sender: Sender): void {
    const { laneRelay } = this.host;
    if (laneRelay === undefined)
      throw new GodwitError("PROTOCOL_VIOLATION", "the receiver wants what was not offered to it");
    if (message.type === "relay-want") sender.handleWant(message.object, message.ranges);
    else laneRelay.handleMessage(message, this.events);
  }

  protected override handleOver(): void {
    this.host.laneRelay?.end();
  }

  protected handleMessage(message: ControlMessage): void {
    if (message.type === "rejected") this.end(message.code, message.text);
    else if (this.sender !== undefined && isRelayMessage(message))
      this.handleRelayMessage(message, this.sender);
    else if (this.sender !== undefined && message.type === "receipt") this.takeReceipt(message, this.sender);
    else if (this.sender !== undefined) this.sender.handleMessage(message);
    else if (this.receiver !== undefined) this.receiver.handleMessage(message);
    else if (this.request.mode === "pull") this.holdEarly(this.early, message);
    else if (this.request.mode === "list") this.handleListed(message);
    else
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        `the peer sent ${message.type} before anything was offered`,
      );
  }
}
