/**
 * Packet protection keys of one connection: phases, updates and usage limits.
 * Sources: RFC 9001 §6 (key update), §6.6 (limits); docs/spec/handshake.md §7.
 */
import { assert } from "../base/assert.ts";
import { GodwitError } from "../base/errors.ts";
import { AEAD_CONFIDENTIALITY_PACKETS, AEAD_INTEGRITY_PACKETS, KEY_UPDATE_PACKETS } from "../base/limits.ts";
import type { PacketBatch } from "../wire/batch.ts";
import { SHORT_HEADER_BYTES } from "../wire/header.ts";
import type { CryptoProvider, PacketKey } from "./crypto.ts";
import { SECRET_BYTES, derivePacketKey, nextSecret } from "./handshake/key-schedule.ts";

/** Which receive key fits a packet. */
export const KEY_CHOICE = { none: 0, previous: 1, current: 2, next: 3 } as const;

/** When keys are replaced and when they must not be used any more. */
export interface KeyLimits {
  /** Packets sealed before an update is begun. */
  readonly updatePackets: number;
  /** Packets that may be sealed under one key. */
  readonly confidentialityPackets: number;
  /** Packets that may fail to open over the life of the connection. */
  readonly integrityPackets: number;
}

/** The limits in use outside of tests. RFC 9001 §6.6. */
export const KEY_LIMITS: KeyLimits = {
  updatePackets: KEY_UPDATE_PACKETS,
  confidentialityPackets: AEAD_CONFIDENTIALITY_PACKETS,
  integrityPackets: AEAD_INTEGRITY_PACKETS,
};

/** One direction: the present secret and the key made from it. */
class Direction {
  private readonly crypto: CryptoProvider;
  private secret: Uint8Array;

  constructor(crypto: CryptoProvider, secret: Uint8Array) {
    assert(secret.length === SECRET_BYTES, "a traffic secret has 32 bytes");
    this.crypto = crypto;
    this.secret = secret.slice();
  }

  key(): PacketKey {
    return derivePacketKey(this.secret, this.crypto);
  }

  /** Replaces the secret by the one of the next phase; the old one is overwritten. */
  advance(): void {
    const next = nextSecret(this.secret, this.crypto);
    this.secret.fill(0);
    this.secret = next;
  }
}

/** Seals and opens short-header packets, and follows key updates of both sides. */
export class PacketKeys {
  private readonly limits: KeyLimits;
  private readonly sendDirection: Direction;
  private readonly receiveDirection: Direction;
  private sendKey: PacketKey;
  private previousKey: PacketKey | undefined;
  private currentKey: PacketKey;
  private nextKey: PacketKey;
  private discardPreviousAtUs: number | undefined;
  private generation = 0;
  private sealed = 0;
  private failed = 0;
  /** First packet number sealed in this phase, or -1 when none was yet. */
  private firstSealed = -1;
  private isConfirmed = false;
  /** Smallest packet number opened with the current key. */
  private lowestOpened = Infinity;

  constructor(
    crypto: CryptoProvider,
    sendSecret: Uint8Array,
    receiveSecret: Uint8Array,
    limits: KeyLimits = KEY_LIMITS,
  ) {
    this.limits = limits;
    this.sendDirection = new Direction(crypto, sendSecret);
    this.receiveDirection = new Direction(crypto, receiveSecret);
    this.sendKey = this.sendDirection.key();
    this.currentKey = this.receiveDirection.key();
    this.receiveDirection.advance();
    this.nextKey = this.receiveDirection.key();
  }

  /** Number of updates so far. */
  get updates(): number {
    return this.generation;
  }

  /** Key phase bit of packets to be sent: 0 or 1. */
  get phase(): number {
    return this.generation & 1;
  }

  /** Packets that failed to open. */
  get failedPackets(): number {
    return this.failed;
  }

  /** When `handleTimeout` wants to be called, or `undefined`. */
  get timeoutUs(): number | undefined {
    return this.discardPreviousAtUs;
  }

  /** Forgets the previous key when its time has come. */
  handleTimeout(nowUs: number): void {
    if (this.discardPreviousAtUs === undefined || nowUs < this.discardPreviousAtUs) return;
    this.previousKey = undefined;
    this.discardPreviousAtUs = undefined;
  }

  /** Seals datagrams `[from, to)`. @throws GodwitError AEAD_LIMIT when the key must not be used any more. */
  seal(batch: PacketBatch, from: number, to: number): void {
    if (to === from) return;
    this.sealed += to - from;
    if (this.sealed > this.limits.confidentialityPackets)
      throw new GodwitError("AEAD_LIMIT", "the peer did not answer a key update in time; connect again");
    if (this.firstSealed < 0) this.firstSealed = batch.packetNumbers[from];
    this.sendKey.seal(batch, from, to, SHORT_HEADER_BYTES);
    batch.release(from, to);
  }

  /** The largest packet number the peer acknowledged: confirms the phase. RFC 9001 §6.1. */
  handleAcked(largestAcked: number): void {
    if (this.firstSealed >= 0 && largestAcked >= this.firstSealed) this.isConfirmed = true;
  }

  /**
   * Begins an update if enough packets were sealed and none is outstanding; returns whether it did.
   * To be called between batches only.
   */
  updateIfDue(): boolean {
    // RFC 9001 §6.1 and §6.5: not before the present phase was confirmed, nor while old packets may come.
    const mayUpdate = this.isConfirmed && this.previousKey === undefined;
    if (this.sealed < this.limits.updatePackets || !mayUpdate) return false;
    this.advance();
    return true;
  }

  /** The key to try for a packet. */
  choose(phase: number, packetNumber: number): number {
    if (phase === (this.generation & 1)) return KEY_CHOICE.current;
    if (packetNumber < this.lowestOpened)
      return this.previousKey === undefined
        ? this.lowestOpened === Infinity
          ? KEY_CHOICE.next
          : KEY_CHOICE.none
        : KEY_CHOICE.previous;
    return KEY_CHOICE.next;
  }

  /**
   * Opens datagrams `[from, to)` with one key and returns how many were authentic.
   *
   * @throws GodwitError AEAD_LIMIT after too many failures.
   */
  open(batch: PacketBatch, from: number, to: number, choice: number): number {
    let opened = 0;
    const key = this.keyFor(choice);
    if (key === undefined) batch.opened.fill(0, from, to);
    else opened = key.open(batch, from, to, SHORT_HEADER_BYTES);
    this.failed += to - from - opened;
    if (this.failed > this.limits.integrityPackets)
      throw new GodwitError("AEAD_LIMIT", "too many packets failed authentication; connect again");
    return opened;
  }

  /**
   * Authentic packets were opened with the chosen key; `lowestNumber` is the smallest. Returns whether
   * that means that the peer updated its keys.
   *
   * @param keepUs - How long to keep the previous key: three probe timeouts. RFC 9001 §6.5.
   */
  handleOpened(choice: number, lowestNumber: number, nowUs: number, keepUs: number): boolean {
    if (choice === KEY_CHOICE.previous) return false;
    const isUpdate = choice === KEY_CHOICE.next;
    if (isUpdate) this.advance();
    const isFirst = this.lowestOpened === Infinity;
    if (lowestNumber < this.lowestOpened) this.lowestOpened = lowestNumber;
    if (isFirst && this.previousKey !== undefined) this.discardPreviousAtUs = nowUs + keepUs;
    return isUpdate;
  }

  private keyFor(choice: number): PacketKey | undefined {
    if (choice === KEY_CHOICE.current) return this.currentKey;
    if (choice === KEY_CHOICE.next) return this.nextKey;
    return choice === KEY_CHOICE.previous ? this.previousKey : undefined;
  }

  private advance(): void {
    this.generation++;
    this.sendDirection.advance();
    this.sendKey = this.sendDirection.key();
    this.previousKey = this.currentKey;
    this.discardPreviousAtUs = undefined;
    this.currentKey = this.nextKey;
    this.receiveDirection.advance();
    this.nextKey = this.receiveDirection.key();
    this.sealed = 0;
    this.firstSealed = -1;
    this.isConfirmed = false;
    this.lowestOpened = Infinity;
  }
}
