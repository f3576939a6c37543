/** Known and authorised peers, for programs. */
import { GodwitError } from "../base/errors.ts";
import { homeDirectory } from "../node/stores/home.ts";
import { parseSafePath } from "../files/safe-path.ts";
import { KnownPeers, type KnownPeer } from "../node/stores/known-peers.ts";
import { parseFingerprint } from "../transport/fingerprint.ts";
import type { HomeOptions } from "./identity.ts";

/** One known peer. */
export type Peer = KnownPeer;

/** What a peer may do, and how it is called. */
export interface TrustOptions extends HomeOptions {
  /** May get files. Default true. */
  readonly mayRead?: boolean;
  /** May send files. Default true. */
  readonly mayWrite?: boolean;
  /** Name for `@name`, without the `@`. */
  readonly name?: string | undefined;
  /** Directory below the served one that it is confined to. */
  readonly directory?: string | undefined;
}

/** All known peers, in the order they were added. @throws GodwitError CONFIGURATION. */
export function listPeers(options: HomeOptions = {}): readonly Peer[] {
  return KnownPeers.load(homeDirectory(options.home)).list();
}

/**
 * Lets the holder of a key connect to `serve` on this machine.
 *
 * @throws GodwitError USAGE for a malformed fingerprint or a name that another peer has, UNSAFE_NAME for a directory that
 *   is not below the served one.
 */
export function trustPeer(fingerprint: string, options: TrustOptions = {}): Peer {
  const name = options.name?.replace(/^@/, "");
  if (name !== undefined && !/^[\p{L}\p{N}._-]{1,255}$/u.test(name)) {
    throw new GodwitError("USAGE", "a peer's name is made of letters, digits, dots, hyphens and underscores");
  }
  const directory =
    options.directory === undefined ? undefined : parseSafePath(options.directory.replace(/\/+$/, "")).text;
  return KnownPeers.load(homeDirectory(options.home)).trust(parseFingerprint(fingerprint), {
    mayRead: options.mayRead ?? true,
    mayWrite: options.mayWrite ?? true,
    ...(name === undefined ? {} : { name }),
    ...(directory === undefined ? {} : { directory }),
  });
}

/** Forgets a peer by fingerprint or name. @throws GodwitError USAGE when no such peer is known. */
export function forgetPeer(who: string, options: HomeOptions = {}): Peer {
  const store = KnownPeers.load(homeDirectory(options.home));
  // Whatever is no fingerprint is a name, with or without the @.
  const isFingerprint = store.byName(who) === undefined && /^[A-Z2-7\s-]{32,}$/i.test(who);
  const forgotten = store.forget(isFingerprint ? parseFingerprint(who) : who.replace(/^@/, ""));
  if (forgotten === undefined) {
    throw new GodwitError("USAGE", `no peer ${who.slice(0, 100)} is known; godwit peers lists them`);
  }
  return forgotten;
}
