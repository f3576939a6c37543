/** The end of a transfer that begins it: sends the request, then is the sender or the receiver. */
import { encodeUtf8 } from "../base/utf8.ts";
import { GodwitError } from "../base/errors.ts";
import type { DiskPath } from "../files/disk.ts";
import { destinationErrorCode, errnoText, sourceErrorCode } from "../files/disk-errors.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { ScanStart } from "../files/scan.ts";
import { jobName } from "../files/staging-name.ts";
import type { ControlMessage, PathRule, TransferOptions } from "./messages.ts";
import { ID_BYTES, TRANSFER_VERSION } from "./messages.ts";
import type { OfferFeed } from "./offers.ts";
import { PipeOffer, ScannedOffers } from "./offers.ts";
import { compileRules } from "./path-rules.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import type { SessionHost } from "./session.ts";
import { TransferSession } from "./session.ts";

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
    };

/** 16 bytes that are the same for the same command: names the job, so that it can be resumed. */
function transferId(hash: Hash, request: ClientRequest): Uint8Array {
  const parts: string[] = [request.mode];
  if (request.mode === "pull") parts.push(...request.paths);
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
    const isPull = request.mode === "pull";
    this.events.add({
      type: "transfer-started",
      role: isPull ? "receiver" : "sender",
      peerFingerprint,
      peerAddress,
    });
    const rules = request.mode === "push-pipe" ? [] : request.rules;
    this.messages.add({
      type: "request",
      version: TRANSFER_VERSION,
      mode: isPull ? "pull" : "push",
      options: request.options,
      transferId: id,
      destination: isPull ? "" : request.destination,
      paths: isPull ? request.paths : [],
      rules: isPull ? rules : [],
    });
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

  private begin(id: Uint8Array): void {
    const { request } = this;
    if (request.mode === "push") this.openSources(request, []);
    else if (request.mode === "push-pipe") {
      const feed = new PipeOffer(this.supply, request.name);
      this.startSender(feed);
    } else this.openInto(request, id);
  }

  private startSender(feed: OfferFeed): void {
    const { supply, messages, events } = this;
    this.sender = new Sender({ hash: this.host.hash, supply, feed, messages, events });
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
        this.end(sourceErrorCode(errno), `cannot open ${printable(source.location)}: ${errnoText(errno)}`),
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
          job: jobName(host.hash, host.peerKey, id),
        });
        const early = this.early.splice(0);
        this.guard(() => {
          for (const message of early) this.handleMessage(message);
        });
      },
      (errno) =>
        this.end(destinationErrorCode(errno), `cannot open ${printable(request.into)}: ${errnoText(errno)}`),
    );
  }

  /** Messages that came before the destination was open: at most a stream window of them. */
  private readonly early: ControlMessage[] = [];

  protected handleMessage(message: ControlMessage): void {
    if (message.type === "rejected") this.end(message.code, message.text);
    else if (this.sender !== undefined) this.sender.handleMessage(message);
    else if (this.receiver !== undefined) this.receiver.handleMessage(message);
    else if (this.request.mode === "pull") this.early.push(message);
    else
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        `the peer sent ${message.type} before anything was offered`,
      );
  }
}
