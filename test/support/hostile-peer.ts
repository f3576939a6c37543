/**
 * Peers that hold real keys and keep no rule of a transfer: one that dials a server and says what it likes, and
 * one that answers a client. Built from the library's own parts, over real sockets.
 */
import { dial } from "../../src/api/dial.ts";
import { makeEndpoint } from "../../src/api/endpoint.ts";
import { parseTarget } from "../../src/api/target.ts";
import { monotonicNowUs } from "../../src/node/clock.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { loadBlake3 } from "../../src/node/hash.ts";
import { Host } from "../../src/node/host.ts";
import { formatAddress } from "../../src/node/sockets/address-text.ts";
import { openSocket } from "../../src/node/sockets/open.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import type { EntryMessage } from "../../src/transfer/entry-message.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import type { RequestMessage } from "../../src/transfer/request-message.ts";
import { TRANSFER_VERSION } from "../../src/transfer/request-message.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { TransferSession } from "../../src/transfer/session.ts";
import type { ObjectPiece } from "../../src/transport/objects.ts";

/** A request to push, to be changed as needed. */
export const REQUEST: RequestMessage = {
  type: "request",
  version: TRANSFER_VERSION,
  mode: "push",
  options: DEFAULT_OPTIONS,
  transferId: new Uint8Array(16),
  destination: "",
  paths: [],
  rules: [],
};

/** An entry of one byte, to be changed as needed. */
export const ENTRY: EntryMessage = {
  type: "entry",
  object: 0,
  kind: "file",
  path: "x",
  sizeBytes: 1,
  mode: 0o644,
  modifiedAtUs: 0,
  token: new Uint8Array(16).fill(1),
  target: "",
};

/** A session that sends what it is told to and remembers what it hears. */
export class HostileSession extends TransferSession {
  readonly heard: ControlMessage[] = [];
  /** Called for each message. */
  onMessage: (message: ControlMessage) => void = () => undefined;
  private readonly pieces: { readonly object: number; readonly bytes: Uint8Array; at: number }[] = [];
  private readonly waiting = new Set<() => void>();
  private isGone = false;

  constructor(hash: (bytes: Uint8Array) => Uint8Array) {
    super({ hash, peerKey: new Uint8Array(32), peerFingerprint: "", peerAddress: "", umask: 0 });
  }

  /** Queues control messages. */
  say(...messages: readonly ControlMessage[]): void {
    for (const message of messages) this.messages.add(message);
  }

  /** Queues file data from the beginning of an object. */
  sendData(object: number, bytes: Uint8Array): void {
    this.pieces.push({ object, bytes, at: 0 });
  }

  /** Ends this side. */
  leave(): void {
    this.cancel("INTERRUPTED", "", monotonicNowUs());
  }

  /** Resolves when a message satisfies `isIt`, or with `undefined` when the connection ended first. */
  async hear(isIt: (message: ControlMessage) => boolean): Promise<ControlMessage | undefined> {
    for (;;) {
      const found = this.heard.find(isIt);
      if (found !== undefined || this.isGone) return found;
      await new Promise<void>((resolve) => this.waiting.add(resolve));
    }
  }

  /** Resolves when the connection ended, with the code the peer closed with. */
  async gone(): Promise<string | undefined> {
    await this.hear(() => false);
    return this.closeCode;
  }

  /** What the peer closed with. */
  closeCode: string | undefined;

  private ring(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }

  protected handleMessage(message: ControlMessage): void {
    this.heard.push(message);
    this.onMessage(message);
    this.ring();
  }

  override handleConnectionClosed(...args: Parameters<TransferSession["handleConnectionClosed"]>): void {
    this.closeCode = args[0];
    this.isGone = true;
    super.handleConnectionClosed(...args);
    this.ring();
  }

  override peekPiece(piece: ObjectPiece): boolean {
    const next = this.pieces[0];
    if (next === undefined) return false;
    piece.object = next.object;
    piece.offset = next.at;
    piece.availableBytes = next.bytes.length - next.at;
    piece.isRetransmission = false;
    return true;
  }

  override takePiece(_piece: ObjectPiece, lengthBytes: number, target: Uint8Array, at: number): void {
    const next = this.pieces[0];
    target.set(next.bytes.subarray(next.at, next.at + lengthBytes), at);
    next.at += lengthBytes;
    if (next.at === next.bytes.length) this.pieces.shift();
  }
}

/** A hostile peer on a socket of its own. */
export interface HostilePeer {
  readonly session: HostileSession;
  readonly host: Host;
  /** Ends the connection in order. */
  end(): Promise<void>;
  close(): void;
}

/** Dials `address` as a stranger whose keys are kept in `home`. */
export async function dialHostile(address: string, home: string): Promise<HostilePeer> {
  const target = parseTarget(address);
  const { host, connection } = await dial(target, { home, acceptNew: true }, () => undefined);
  const session = new HostileSession(await loadBlake3());
  void host.run(connection, session, true);
  const end = async (): Promise<void> => {
    session.leave();
    host.wake();
    await host.closing(connection);
    host.close();
  };
  return { session, host, end, close: () => host.close() };
}

/** Serves on a free port; each client gets a session that `begin` makes use of. */
export async function serveHostile(
  begin: (session: HostileSession, host: Host) => void,
): Promise<{ readonly port: number; readonly fingerprint: string; close(): void }> {
  const crypto = nodeCryptoProvider();
  const identity = temporaryIdentity(crypto);
  const hash = await loadBlake3();
  const socket = await openSocket({ port: 0, host: "127.0.0.1" });
  const endpoint = makeEndpoint(identity, crypto, socket, {}, { verifyPeer: () => undefined });
  const host: Host = new Host(
    socket,
    endpoint,
    (connection) => {
      host.watch(connection, () => undefined);
      const session = new HostileSession(hash);
      begin(session, host);
      void host.run(connection, session, false);
    },
    () => undefined,
  );
  const local = formatAddress(socket.localAddress);
  const port = Number(local.slice(local.lastIndexOf(":") + 1));
  return { port, fingerprint: identity.fingerprint, close: () => host.close() };
}
