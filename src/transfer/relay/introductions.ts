/** Whom the sender introduced to one receiver: who may join with which token, and whom to dial. */
import { toHex } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { RELAY_INTRODUCTIONS } from "../../base/limits.ts";
import type { RelayMessage } from "./relay-messages.ts";

/** Another receiver that is to be dialled. */
export interface Introduction {
  /** What the sender calls it. */
  readonly partner: number;
  readonly key: Uint8Array;
  readonly token: Uint8Array;
  readonly address: Int32Array;
}

/** The introductions of one transfer. */
export class Introductions {
  /** Who may join: key and token, and what the sender calls it. */
  private readonly expected = new Map<string, number>();
  private readonly expectedKeys = new Map<string, number>();
  private dials: Introduction[] = [];
  private dialling = 0;
  private count = 0;

  /** Takes a message of the sender. @throws GodwitError OVER_LIMIT or PROTOCOL_VIOLATION */
  handleMessage(message: RelayMessage): void {
    if (message.type !== "relay-expect" && message.type !== "relay-dial")
      throw new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: a ${message.type} message`);
    if (++this.count > RELAY_INTRODUCTIONS)
      throw new GodwitError("OVER_LIMIT", "the sender introduced more receivers than this side takes");
    const { partner, key, token } = message;
    if (message.type === "relay-expect") {
      const name = toHex(key);
      this.expected.set(`${name}/${toHex(token)}`, partner);
      this.expectedKeys.set(name, (this.expectedKeys.get(name) ?? 0) + 1);
    } else {
      this.dials.push({ partner, key, token, address: message.address });
      this.dialling++;
    }
  }

  /** Whether a receiver with this key was announced. */
  isExpected(key: Uint8Array): boolean {
    return this.expectedKeys.has(toHex(key));
  }

  /** Whether somebody who was announced has not joined yet. */
  get expectsSomebody(): boolean {
    return this.expected.size > 0;
  }

  /** Whom a key and a token announce: what the sender calls it, or `undefined` for nobody. */
  find(key: Uint8Array, token: Uint8Array): number | undefined {
    return this.expected.get(`${toHex(key)}/${toHex(token)}`);
  }

  /** A receiver joined: its token is good for one connection. */
  use(key: Uint8Array, token: Uint8Array): void {
    const name = toHex(key);
    this.expected.delete(`${name}/${toHex(token)}`);
    const left = (this.expectedKeys.get(name) ?? 1) - 1;
    if (left > 0) this.expectedKeys.set(name, left);
    else this.expectedKeys.delete(name);
  }

  /** Nobody may join any more. */
  expectNobody(): void {
    this.expected.clear();
    this.expectedKeys.clear();
  }

  /** Receivers to dial, each once; `handleDialEnd` tells that one was reached or not. */
  takeDials(): Introduction[] {
    return this.dials.splice(0);
  }

  /** Nobody is to be dialled any more. */
  dropDials(): void {
    this.dials = [];
  }

  /** A dialled receiver was reached, or not. */
  handleDialEnd(): void {
    this.dialling--;
  }

  /** Whether somebody is being dialled, or is to be. */
  get isDialling(): boolean {
    return this.dialling > 0;
  }
}
