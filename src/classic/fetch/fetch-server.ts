/**
 * The server of the file fetch: sends the file a client names, paced, and always ends with a shorter
 * datagram, an empty one if need be.
 *
 * Pure. Nothing on this wire tells a client about loss; see docs/classic/fetch.md.
 */
import { toHex } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_FETCH_SESSIONS } from "../../base/limits.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSource, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import type { StreamHash } from "../stream-hash.ts";
import { FETCH_CHUNK_BYTES, decodeFetchRequest, encodeFetchVerdict } from "./fetch-wire.ts";
import type { FetchVerdict } from "./fetch-wire.ts";

/**
 * Datagrams sent in one go: 64 kB, a third of what the system's default receive buffer holds, which
 * is 97 of these datagrams.
 */
const BURST_CHUNKS = 32;

/** Default pause between two bursts, in microseconds: 32 MB/s. */
export const FETCH_PAUSE_US = 2_000;

/** The same request again within this time is a copy made by the network, later it starts anew. Microseconds. */
const COPY_US = 1_000_000;

/** How long after its end a transfer is remembered, for our own question. Microseconds. */
const REMEMBER_US = 10_000_000;

/** Settings of a server. */
export interface FetchServerOptions {
  /** Opens the file of that name for sending; `undefined` if there is none or it is not to be sent. */
  readonly open: (name: string) => ByteSource | undefined;
  /** A new SHA-256. */
  readonly createHash: () => StreamHash;
  /** Pause between bursts, in microseconds. */
  readonly pauseUs?: number;
  /** Say nothing about a missing file. Otherwise an empty datagram ends the client's wait. */
  readonly isSilentWhenMissing?: boolean;
  /** Send no empty last datagram, like servers written as `while chunk:`. For experiments. */
  readonly isUnterminated?: boolean;
  /** End after the first transfer and a moment for its question. */
  readonly isOnce?: boolean;
}

interface Session {
  readonly peer: PeerAddress;
  readonly name: string;
  readonly source: ByteSource | undefined;
  readonly hash: StreamHash;
  requestedAtUs: number;
  offset: number;
  /** When the next burst is due; `undefined` once the last datagram is out. */
  dueUs: number | undefined;
  endedAtUs: number;
  verdict: FetchVerdict | undefined;
  error: GodwitError | undefined;
}

/** Serves until it is stopped. */
export class FetchServer extends OutboxMachine implements ClassicMachine {
  private readonly options: FetchServerOptions;
  private readonly sessions = new Map<PeerAddress, Session>();
  private result: ClassicOutcome | undefined;

  constructor(options: FetchServerOptions) {
    super();
    this.options = options;
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const request = decodeFetchRequest(bytes);
    if (this.result !== undefined || request === undefined) return;
    const known = this.sessions.get(from);
    if (request.asksForDigest) {
      if (known?.name === request.name && known.verdict !== undefined)
        this.outbox.send(from, encodeFetchVerdict(known.verdict));
      return;
    }
    if (known !== undefined && known.name === request.name && nowUs - known.requestedAtUs < COPY_US) return;
    if (known === undefined && this.sessions.size >= CLASSIC_FETCH_SESSIONS) {
      this.outbox.emit({ type: "request-refused", peer: from, name: request.name, reason: "busy" });
      return;
    }
    this.begin(request.name, from, nowUs);
  }

  handleTimeout(nowUs: number): void {
    for (const session of this.sessions.values()) {
      if (session.dueUs !== undefined && session.dueUs <= nowUs) this.sendBurst(session, nowUs);
      else if (session.dueUs === undefined && session.endedAtUs + REMEMBER_US <= nowUs) this.forget(session);
    }
  }

  handleStop(): void {
    this.end({ result: "failed", error: new GodwitError("INTERRUPTED", "the server was stopped") });
  }

  override nextTimeoutUs(): number | undefined {
    let dueUs: number | undefined;
    for (const session of this.sessions.values()) {
      const nextUs = session.dueUs ?? session.endedAtUs + REMEMBER_US;
      dueUs = Math.min(dueUs ?? nextUs, nextUs);
    }
    return this.result === undefined ? dueUs : undefined;
  }

  private begin(name: string, peer: PeerAddress, nowUs: number): void {
    const old = this.sessions.get(peer);
    if (old !== undefined) old.source?.close();
    let source: ByteSource | undefined;
    let reason = "no such file";
    try {
      source = this.options.open(name);
    } catch (error) {
      // What is wrong with the file is the server's business: to the client it is not there.
      if (!(error instanceof GodwitError)) throw error;
      reason = error.message;
    }
    const session: Session = {
      peer,
      name,
      source,
      hash: this.options.createHash(),
      requestedAtUs: nowUs,
      offset: 0,
      dueUs: undefined,
      endedAtUs: nowUs,
      verdict: undefined,
      error: undefined,
    };
    this.sessions.set(peer, session);
    if (source === undefined) {
      session.verdict = { isMissing: true };
      this.outbox.emit({ type: "file-missing", line: `${peer}: ${name}: ${reason}`, peer, name, reason });
      if (!this.options.isSilentWhenMissing) this.outbox.send(peer, new Uint8Array(0));
      return;
    }
    const totalBytes = source.sizeBytes;
    this.outbox.emit({
      type: "session-started",
      line: `${peer}: ${name}, ${totalBytes} bytes`,
      peer,
      name,
      totalBytes,
    });
    this.sendBurst(session, nowUs);
  }

  private sendBurst(session: Session, nowUs: number): void {
    const { source, peer, name } = session;
    if (source === undefined) return;
    try {
      for (let i = 0; i < BURST_CHUNKS; i++) {
        const chunk = source.read(session.offset, FETCH_CHUNK_BYTES).slice();
        session.offset += chunk.length;
        session.hash.update(chunk);
        const isLast = chunk.length < FETCH_CHUNK_BYTES;
        if (isLast) source.checkUnchanged();
        if (chunk.length > 0 || !this.options.isUnterminated) this.outbox.send(peer, chunk);
        if (isLast) {
          this.endSession(session, nowUs);
          return;
        }
      }
      session.dueUs = nowUs + (this.options.pauseUs ?? FETCH_PAUSE_US);
      const totalBytes = source.sizeBytes;
      this.outbox.emit({ type: "progress", peer, name, doneBytes: session.offset, totalBytes });
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      // No last datagram: the client must not take what it has for the file.
      session.error = error;
      this.outbox.emit({ type: "session-failed", peer, name, reason: error.message });
      this.endSession(session, nowUs);
    }
  }

  private endSession(session: Session, nowUs: number): void {
    session.dueUs = undefined;
    session.endedAtUs = nowUs;
    session.source?.close();
    if (session.error !== undefined) return;
    const { peer, name, offset } = session;
    session.verdict = { isMissing: false, sizeBytes: offset, digestHex: toHex(session.hash.digest()) };
    this.outbox.emit({ type: "file-sent", peer, name, doneBytes: offset });
  }

  private forget(session: Session): void {
    this.sessions.delete(session.peer);
    if (!this.options.isOnce) return;
    if (session.error !== undefined) this.end({ result: "failed", error: session.error });
    else if (session.source === undefined) {
      const { name } = session;
      const error = new GodwitError("NOT_FOUND", `a client asked for ${name}, which is not here`, {
        path: name,
      });
      this.end({ result: "failed", error });
    } else {
      const reason = "everything was sent, but this wire cannot tell what arrived";
      this.end({ result: "probably-complete", reason });
    }
  }

  private end(outcome: ClassicOutcome): void {
    for (const session of this.sessions.values()) session.source?.close();
    this.sessions.clear();
    this.result ??= outcome;
  }
}
