/** What a run needs of its host, and what became of it. */
import type { Hash } from "../../files/hash-tree.ts";
import type { CongestionControllerFactory } from "../../transport/congestion/controller.ts";
import type { CryptoProvider, DhKeyPair, SigningIdentity } from "../../transport/crypto.ts";

/** A machine's long-term keys. */
export interface SimIdentity {
  readonly signing: SigningIdentity;
  readonly staticKey: DhKeyPair;
}

/** The host's primitives: the pure layers have none. */
export interface SimEnvironment {
  readonly crypto: CryptoProvider;
  readonly hash: Hash;
  /** Keys of the two machines; the same in every run, since making them costs more than a run. */
  readonly identities: readonly [sender: SimIdentity, receiver: SimIdentity];
  /** Congestion controllers by name. */
  readonly controllers: Readonly<Record<string, CongestionControllerFactory>>;
}

/** What became of a run. */
export interface RunResult {
  readonly seed: number;
  /** Why it failed; `undefined`: it did not. */
  readonly failure: string | undefined;
  /** Virtual time it took, in microseconds. */
  readonly virtualUs: number;
  readonly packets: number;
  /** Attempts of the command until it succeeded. */
  readonly attempts: number;
}
