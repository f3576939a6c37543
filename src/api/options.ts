/** Options that everything which talks to a peer shares. */
import type { HomeOptions } from "./identity.ts";

/** Congestion controllers by name. */
export type ControllerName = "bbr" | "cubic" | "newreno" | "polite";

/** How to use the network. */
export interface NetworkOptions extends HomeOptions {
  /** Most UDP payload bytes per second to send, all connections together. Default: no cap. */
  readonly rateBytesPerSecond?: number | undefined;
  /** Default `bbr`: loss-tolerant and fair. `polite` yields to other traffic. */
  readonly controller?: ControllerName | undefined;
  /** Time without progress after which to give up, in microseconds. Default 60 s. */
  readonly patienceUs?: number | undefined;
  /** Directory for a log of each connection in the qlog format; made if it is not there. Default: no logs. */
  readonly qlog?: string | undefined;
  /** Cancels: the peer is told, state that can be resumed is saved, the result is INTERRUPTED. */
  readonly signal?: AbortSignal | undefined;
}

/** How to recognise the machine that is dialled. */
export interface TrustPolicy {
  /** Its fingerprint; any other key is refused. */
  readonly pin?: string | undefined;
  /** Accept a key never seen before, and remember it. A changed key is refused all the same. */
  readonly acceptNew?: boolean | undefined;
  /** The pairing code that `serve` shows there: used on first contact, after which both sides know each other. */
  readonly code?: string | undefined;
  /** Use `code` although the machine is known: it has forgotten this one. */
  readonly pairAgain?: boolean | undefined;
}

/** Options of everything that dials a peer. */
export interface DialOptions extends NetworkOptions, TrustPolicy {}
