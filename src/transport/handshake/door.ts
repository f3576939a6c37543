/**
 * The door: what happens to a long-header datagram that belongs to no connection. It costs no state
 * before a stranger's address is believable, and answers at most as many bytes as came.
 *
 * Pure. The endpoint asks it after its routing by connection id found nothing.
 * Source: docs/spec/handshake.md §9.
 */
import { assert } from "../../base/assert.ts";
import { toHex } from "../../base/bytes.ts";
import { DecodeError } from "../../base/errors.ts";
import {
  HALF_OPEN_BEFORE_COOKIES,
  HALF_OPEN_MAX,
  HANDSHAKE_DEADLINE_US,
  INITIATIONS_BURST,
  INITIATIONS_PER_SECOND,
  MIN_DATAGRAM_BYTES,
  VALIDATED_INITIATIONS_BURST,
  VALIDATED_INITIATIONS_PER_SECOND,
} from "../../base/limits.ts";
import { addressBytes } from "../../wire/address.ts";
import {
  LONG_TYPE,
  NO_VERSION,
  SUPPORTED_VERSIONS,
  decodeLongPacket,
  encodeLongPacket,
  encodeVersions,
  readInvariantHeader,
  type LongPacket,
} from "../../wire/header.ts";
import { SHARE_BYTES } from "../../wire/pairing.ts";
import type { CryptoProvider } from "../crypto.ts";
import { CookieJar } from "./cookie.ts";
import { NOISE_KEY_BYTES } from "./noise.ts";
import { SourceLimiter } from "./source-limiter.ts";

/** What to do with a stranger's datagram. */
export const DOOR = {
  /** Nothing. */
  drop: 0,
  /** Send `door.answer` back to where it came from, once. */
  answer: 1,
  /** Begin a handshake; `door.attempt` and `door.isAddressValidated` say which. */
  admit: 2,
  /** It repeats the INIT of a handshake in progress, `door.known`: hand it on. */
  known: 3,
  /** It is a PAIR, `door.packet`, from an address that showed a cookie. */
  pair: 4,
} as const;

const EMPTY = new Uint8Array(0);

/** Counts since the door was made. */
export interface DoorStatistics {
  admitted: number;
  dropped: number;
  retriesSent: number;
  versionsSent: number;
}

/** The gate of one endpoint. `T` is what the endpoint keeps for a handshake in progress. */
export class HandshakeDoor<T> {
  /** After DOOR.answer: the datagram to send, never longer than the one received. */
  answer: Uint8Array = EMPTY;
  /** After DOOR.admit: the name to give to `opened` and `closed`. */
  attempt = "";
  /** After DOOR.admit: whether the initiator showed a valid cookie. */
  isAddressValidated = false;
  /** After DOOR.admit and DOOR.pair: what came. */
  packet: LongPacket | undefined;
  /** After DOOR.known: what was given to `opened`. */
  known: T | undefined;
  readonly statistics: DoorStatistics = { admitted: 0, dropped: 0, retriesSent: 0, versionsSent: 0 };

  private readonly versions: readonly number[];
  private readonly cookies: CookieJar;
  private readonly strangers = new SourceLimiter(INITIATIONS_PER_SECOND, INITIATIONS_BURST);
  private readonly validated = new SourceLimiter(
    VALIDATED_INITIATIONS_PER_SECOND,
    VALIDATED_INITIATIONS_BURST,
  );
  private readonly pairing = new SourceLimiter(INITIATIONS_PER_SECOND, INITIATIONS_BURST);
  private readonly inProgress = new Map<string, T>();
  /** Handshakes that ended, and until when late copies of their INIT are dropped, oldest first. */
  private readonly ended = new Map<string, number>();

  constructor(crypto: CryptoProvider, nowUs: number, versions: readonly number[] = SUPPORTED_VERSIONS) {
    this.versions = versions;
    this.cookies = new CookieJar(crypto, nowUs);
  }

  /** Handshakes in progress. */
  get halfOpenCount(): number {
    return this.inProgress.size;
  }

  /** A handshake that was admitted has begun. */
  opened(attempt: string, handshake: T): void {
    this.inProgress.set(attempt, handshake);
  }

  /** A handshake ended, well or not. Late copies of its INIT are dropped from now on. */
  closed(attempt: string, nowUs: number): void {
    if (!this.inProgress.delete(attempt)) return;
    for (const [oldest, untilUs] of this.ended) {
      if (untilUs > nowUs && this.ended.size < HALF_OPEN_MAX) break;
      this.ended.delete(oldest);
    }
    this.ended.set(attempt, nowUs + HANDSHAKE_DEADLINE_US);
  }

  /** Judges a datagram from `addresses[addressIndex]`; returns a value of DOOR. */
  handleDatagram(datagram: Uint8Array, addresses: Int32Array, addressIndex: number, nowUs: number): number {
    const verdict = this.judge(datagram, addresses, addressIndex, nowUs);
    const { statistics } = this;
    if (verdict === DOOR.drop) statistics.dropped++;
    else if (verdict === DOOR.admit) statistics.admitted++;
    else if (verdict === DOOR.answer)
      assert(this.answer.length <= datagram.length, "a stranger gets no more than it sent");
    return verdict;
  }

  private judge(datagram: Uint8Array, addresses: Int32Array, addressIndex: number, nowUs: number): number {
    // HANDSHAKE §9.1: only a full-sized datagram is worth an answer.
    if (datagram.length < MIN_DATAGRAM_BYTES) return DOOR.drop;
    const header = readInvariantHeader(datagram, 0, datagram.length);
    if (header === undefined || header.version === NO_VERSION) return DOOR.drop;
    if (!this.versions.includes(header.version)) {
      this.answer = encodeVersions(header, this.versions);
      this.statistics.versionsSent++;
      return DOOR.answer;
    }
    const packet = parseFirst(datagram);
    if (packet === undefined) return DOOR.drop;
    this.packet = packet;
    if (packet.type === LONG_TYPE.pair) return this.judgePair(packet, addresses, addressIndex, nowUs);

    const attempt = attemptName(packet, addresses, addressIndex);
    this.known = this.inProgress.get(attempt);
    if (this.known !== undefined) return DOOR.known;
    if ((this.ended.get(attempt) ?? -Infinity) > nowUs) return DOOR.drop;

    const { cookies, inProgress } = this;
    this.isAddressValidated = cookies.isValid(packet.token, addresses, addressIndex, packet, nowUs);
    if (this.isAddressValidated) {
      if (!this.validated.take(addresses, addressIndex, nowUs)) return DOOR.drop;
    } else if (
      // A flood under somebody else's address must not lock that address out: it can still show a cookie.
      inProgress.size >= HALF_OPEN_BEFORE_COOKIES ||
      !this.strangers.take(addresses, addressIndex, nowUs)
    ) {
      this.answer = retryFor(packet, cookies.issue(addresses, addressIndex, packet, nowUs));
      this.statistics.retriesSent++;
      return DOOR.answer;
    }
    if (inProgress.size >= HALF_OPEN_MAX) return DOOR.drop;
    this.attempt = attempt;
    return DOOR.admit;
  }

  /** PAIRING §5: a PAIR costs curve arithmetic and state: it always needs a cookie, and nobody needs many. */
  private judgePair(packet: LongPacket, addresses: Int32Array, addressIndex: number, nowUs: number): number {
    const { cookies } = this;
    if (cookies.isValid(packet.token, addresses, addressIndex, packet, nowUs))
      return this.pairing.take(addresses, addressIndex, nowUs) ? DOOR.pair : DOOR.drop;
    this.answer = retryFor(packet, cookies.issue(addresses, addressIndex, packet, nowUs));
    this.statistics.retriesSent++;
    return DOOR.answer;
  }
}

/** A packet that a stranger may begin with: INIT or PAIR. */
function parseFirst(datagram: Uint8Array): LongPacket | undefined {
  try {
    const packet = decodeLongPacket(datagram, 0, datagram.length);
    const { type, payload } = packet;
    const isInit = type === LONG_TYPE.init && payload.length >= NOISE_KEY_BYTES;
    const isPair = type === LONG_TYPE.pair && packet.psk && payload.length === SHARE_BYTES;
    return isInit || isPair ? packet : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** Names a handshake by source, ids and ephemeral key: an INIT altered on the way is another one. */
function attemptName(packet: LongPacket, addresses: Int32Array, addressIndex: number): string {
  const { destinationId, sourceId, payload, psk } = packet;
  const source = toHex(addressBytes(addresses, addressIndex));
  const ephemeral = toHex(payload.subarray(0, NOISE_KEY_BYTES));
  return `${source}/${toHex(destinationId)}/${toHex(sourceId)}/${ephemeral}/${psk}`;
}

function retryFor(packet: LongPacket, cookie: Uint8Array): Uint8Array {
  return encodeLongPacket({
    type: LONG_TYPE.retry,
    psk: packet.psk,
    version: packet.version,
    destinationId: packet.sourceId,
    sourceId: packet.destinationId,
    token: cookie,
    payload: EMPTY,
  });
}
