/**
 * A balanced password-authenticated key exchange as a value: two messages, and both sides hold the
 * same key exactly if they used the same password. The implementation is `src/node/crypto/cpace.ts`.
 */

/** One side's message: its share of the group and the data it binds. */
export interface PakeMessage {
  readonly share: Uint8Array;
  readonly data: Uint8Array;
}

/** One side of one exchange. Its secret stays inside. */
export interface PakeRun {
  /** What to send. */
  readonly share: Uint8Array;
  /**
   * The key, or `undefined` if the peer's share is no valid element of the group.
   *
   * @param isInitiator - Whether this side sent its message first.
   */
  finish(peer: PakeMessage, isInitiator: boolean, ownData: Uint8Array): Uint8Array | undefined;
}

/** Begins exchanges. */
export interface Pake {
  /**
   * @param password - What both sides hope to share.
   * @param channel - What the exchange is about, the same on both sides.
   * @param sessionId - Names this exchange, the same on both sides.
   */
  start(password: Uint8Array, channel: Uint8Array, sessionId: Uint8Array): PakeRun;
}
