/** The end of a transfer that answers a request, within what its policy allows. */
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { REQUEST_WAIT_US } from "../base/limits.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import type { RootHandle } from "../files/disk.ts";
import type { SafePath } from "../files/safe-path.ts";
import { parseSafePath } from "../files/safe-path.ts";
import type { ScanStart } from "../files/scan.ts";
import { jobName } from "../files/staging-name.ts";
import type { PieceRun } from "../transport/objects.ts";
import type { ControlMessage } from "./messages.ts";
import type { RequestMessage } from "./request-message.ts";
import { TRANSFER_VERSION } from "./request-message.ts";
import { Lister } from "./lister.ts";
import { ScannedOffers } from "./offers.ts";
import { compileRules } from "./path-rules.ts";
import { receiptMessage } from "./receipt.ts";
import { Receiver } from "./receiver.ts";
import { isRelayMessage } from "./relay/relay-messages.ts";
import type { RelayNode } from "./relay/relay-node.ts";
import { Sender } from "./sender.ts";
import type { SessionHost } from "./session.ts";
import { TransferSession } from "./session.ts";
import type { Tally, TransferOutcome } from "./tally.ts";

/** What a server lets a peer do. */
export interface ServePolicy {
  /** Directory that is served, in the host's own form. */
  readonly location: string;
  /** The peer may get and list. */
  readonly canRead: boolean;
  /** The peer may send. */
  readonly canWrite: boolean;
  /** Never replace existing files, whatever the peer asks. */
  readonly keepsExisting: boolean;
}

/** Answers one request. */
export class ServerSession extends TransferSession {
  private readonly policy: ServePolicy;
  private request: RequestMessage | undefined;
  private readonly early: ControlMessage[] = [];
  /** The host ends an earlier attempt first. */
  private isGivingWay = false;

  constructor(host: SessionHost, policy: ServePolicy) {
    super(host);
    this.policy = policy;
    if (host.patienceUs !== 0) this.patience.setPatience(REQUEST_WAIT_US);
  }

  /** The part of a receiver in what receivers exchange, if its sender asked for it. */
  private relay: RelayNode | undefined;

  override handlePiece(
    object: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    nowUs: number,
  ): number {
    this.relay?.handleSenderActivity(nowUs);
    return super.handlePiece(object, offset, bytes, from, lengthBytes, nowUs);
  }

  override handlePieces(run: PieceRun, nowUs: number): number {
    this.relay?.handleSenderActivity(nowUs);
    return super.handlePieces(run, nowUs);
  }

  protected override handleOver({ code }: TransferOutcome): void {
    this.relay?.handleSessionEnd(code);
  }

  protected handleMessage(message: ControlMessage): void {
    if (this.link !== undefined) {
      this.link.handleMessage(message, this.timeUs);
      return;
    }
    if (message.type === "relay-join" && this.request === undefined) {
      this.join(message.token);
      return;
    }
    if (this.relay !== undefined) {
      this.relay.handleSenderActivity(this.timeUs);
      if (isRelayMessage(message)) {
        this.relay.handleMessage(message);
        return;
      }
    }
    if (message.type === "request") this.handleRequest(message);
    else if (this.request === undefined)
      throw new GodwitError("PROTOCOL_VIOLATION", "the peer sent something before its request");
    else if (this.sender !== undefined) this.sender.handleMessage(message);
    else if (this.receiver !== undefined) this.receiver.handleMessage(message);
    else this.holdEarly(this.early, message);
  }

  /** Another receiver of a transfer, announced by its sender. */
  private join(token: Uint8Array): void {
    const { host, linkCarrier, timeUs } = this;
    // There is nothing to do while both have the same; it ends with its transfer.
    this.patience.setPatience(0);
    this.link = host.relays?.join(host.peerKey, token, linkCarrier, timeUs);
    if (this.link === undefined)
      throw new GodwitError("NOT_AUTHORIZED", "no sender announced this receiver here");
  }

  private handleRequest(request: RequestMessage): void {
    if (this.request !== undefined) throw new GodwitError("PROTOCOL_VIOLATION", "the peer sent two requests");
    this.request = request;
    this.patience.setPatience(this.host.patienceUs);
    const { host, policy } = this;
    const isPush = request.mode === "push";
    this.events.add({
      type: "transfer-started",
      role: isPush ? "receiver" : "sender",
      peerFingerprint: host.peerFingerprint,
      peerAddress: host.peerAddress,
    });
    if (request.version !== TRANSFER_VERSION) {
      const text = `this side speaks version ${TRANSFER_VERSION} of the transfer protocol, the other ${request.version}; update the older one`;
      this.reject("VERSION_MISMATCH", text);
      return;
    }
    if (isPush ? !policy.canWrite : !policy.canRead) {
      this.reject(
        "NOT_AUTHORIZED",
        isPush ? "this peer may not send files here" : "this peer may not get files here",
      );
      return;
    }
    if (policy.keepsExisting && (request.options.overwrite || request.options.update)) {
      this.reject("DECLINED", "this server does not replace existing files");
      return;
    }
    this.openRoot(
      policy.location,
      false,
      (root) => {
        this.guard(() => {
          if (isPush) this.receive(request, root);
          else if (request.mode === "pull") this.send(request, root);
          else this.list(request, root);
          for (const message of this.early.splice(0)) this.handleMessage(message);
        });
      },
      (errno) =>
        this.reject(
          destinationErrorCode(errno),
          `the served directory cannot be opened: ${errnoText(errno)}`,
        ),
    );
  }

  private receive(request: RequestMessage, root: RootHandle): void {
    let destination: SafePath | undefined;
    if (request.destination !== "") {
      try {
        destination = parseSafePath(request.destination);
      } catch (error) {
        if (!(error instanceof GodwitError)) throw error;
        this.reject(error.code, error.message);
        return;
      }
    }
    const { host, runner, messages, events } = this;
    const job = jobName(host.hash, host.peerKey, request.transferId);
    const proceed = (): void => {
      this.isGivingWay = false;
      if (this.outcome !== undefined) return;
      this.guard(() => {
        // A dry run moves nothing, and holes are not sent.
        if (request.options.relay && !request.options.dryRun && !request.options.sparse)
          this.relay = host.relays?.open(this.policy.location, messages, events, this.timeUs);
        const { relay } = this;
        this.receiver = new Receiver({
          hash: host.hash,
          runner,
          messages,
          events,
          root,
          destination,
          options: request.options,
          umask: host.umask,
          memory: host.receiveMemory,
          job,
          relay,
          giveReceipt: (tally) => {
            relay?.handleFinishing();
            this.giveReceipt(tally, request.transferId);
          },
        });
        for (const message of this.early.splice(0)) this.handleMessage(message);
      });
    };
    if (host.beforeReceiving === undefined) proceed();
    else {
      this.isGivingWay = true;
      host.beforeReceiving(job, proceed);
    }
  }

  protected override get isBusy(): boolean {
    return this.isGivingWay || super.isBusy;
  }

  protected override stallText(seconds: number): string {
    return this.request === undefined
      ? "no transfer was asked for in an hour; dial again"
      : super.stallText(seconds);
  }

  /** RECEIPTS §3: what is durable now, signed. Nothing durable, nothing to sign. */
  private giveReceipt(tally: Tally, transferId: Uint8Array): void {
    const { receipts, peerKey } = this.host;
    const { durable, files, bytes } = tally;
    if (receipts === undefined || durable === undefined || durable.size === 0) return;
    const facts = {
      root: durable.root(),
      entries: durable.size,
      files,
      bytes,
      flushedAtMs: receipts.wallTimeMs(),
    };
    const signature = receipts.sign(receiptMessage(facts, transferId, peerKey, receipts.ownKey));
    this.messages.add({ type: "receipt", ...facts, signature });
  }

  private send(request: RequestMessage, root: RootHandle): void {
    const starts: ScanStart[] = [];
    for (const text of request.paths) {
      if (text === "") starts.push({ root, path: [], name: [] });
      else {
        const path = parseSafePath(text).components;
        starts.push({ root, path, name: path.slice(-1) });
      }
    }
    const { host, runner, supply, messages, events } = this;
    const options = { sendsLinks: request.options.links, filter: compileRules(request.rules) };
    const feed = new ScannedOffers(runner, host.hash, supply, starts, options, () => this.sender?.pump());
    this.sender = new Sender({
      hash: host.hash,
      supply,
      feed,
      messages,
      events,
      isSparse: request.options.sparse,
    });
    this.sender.pump();
  }

  private list(request: RequestMessage, root: RootHandle): void {
    // Without a name of its own a directory is listed by its contents.
    const starts: ScanStart[] = request.paths.map((text) => ({
      root,
      path: text === "" ? [] : parseSafePath(text).components,
      name: [],
    }));
    const { host, runner, supply, messages } = this;
    const options = { sendsLinks: true, filter: compileRules(request.rules), isShallow: true };
    const feed = new ScannedOffers(runner, host.hash, supply, starts, options, () => this.lister?.pump());
    this.lister = new Lister(feed, messages);
    this.lister.pump();
  }

  private reject(code: ErrorCode, text: string): void {
    this.messages.add({ type: "rejected", code, text });
    this.end(code, text);
  }
}
