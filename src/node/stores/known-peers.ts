/**
 * Peers this installation knows, by SSH's rules: which key an address showed before, and which keys
 * may come in. Kept in `known_peers.json`; replaced as a whole, so that a full disk loses nothing, and
 * read anew under a lock before each change, so that no process loses what another one wrote.
 */
import { join } from "node:path";
import * as v from "valibot";
import { GodwitError } from "../../base/errors.ts";
import { ensureHome } from "./home.ts";
import { readStateFile, replaceFile } from "./atomic-file.ts";
import { withFileLock } from "./file-lock.ts";

const KNOWN_PEERS_FILE = "known_peers.json";
const KNOWN_PEERS_BYTES_MAX = 16 * 1024 * 1024;
const PEERS_MAX = 100_000;

const Fingerprint = v.pipe(v.string(), v.regex(/^(?:[A-Z2-7]{4}-){7}[A-Z2-7]{4}$/));
const Peer = v.object({
  fingerprint: Fingerprint,
  /** What a person calls it; used as `@name`. */
  name: v.optional(v.pipe(v.string(), v.maxLength(255))),
  /** `host:port` forms under which this key answered. */
  addresses: v.array(v.pipe(v.string(), v.maxLength(300))),
  /** Whether it may connect to `serve` here, and what it may do. */
  mayRead: v.boolean(),
  mayWrite: v.boolean(),
  /** Directory below the served one that it is confined to. */
  directory: v.optional(v.pipe(v.string(), v.maxLength(4_096))),
  addedAt: v.string(),
});
const PeersFile = v.object({ version: v.literal(1), peers: v.pipe(v.array(Peer), v.maxLength(PEERS_MAX)) });

/** What a peer may do at `serve`, and what it is called. */
export interface PeerRights {
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
  readonly directory?: string;
  readonly name?: string;
}

/** One known peer. */
export type KnownPeer = v.InferOutput<typeof Peer>;

/** The peers of a store's bytes. @throws GodwitError CONFIGURATION naming `path` when they are damaged. */
export function parseKnownPeers(bytes: Uint8Array, path: string): KnownPeer[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    parsed = undefined;
  }
  const checked = v.safeParse(PeersFile, parsed);
  if (!checked.success) {
    throw new GodwitError(
      "CONFIGURATION",
      `${path} is damaged; restore it from a backup, or move it away to forget all peers`,
      { path },
    );
  }
  return checked.output.peers;
}

/** What `known_peers.json` says, held in memory; each change is made to what it says by then. */
export class KnownPeers {
  private readonly path: string;
  private peers: KnownPeer[];

  private constructor(path: string, peers: KnownPeer[]) {
    this.path = path;
    this.peers = peers;
  }

  /**
   * Reads the store of `home`; an absent file is an empty store.
   *
   * @throws GodwitError CONFIGURATION when it is damaged.
   */
  static load(home: string): KnownPeers {
    ensureHome(home);
    const path = join(home, KNOWN_PEERS_FILE);
    return new KnownPeers(path, readPeers(path));
  }

  /** All peers, in the order they were added. */
  list(): readonly KnownPeer[] {
    return this.peers;
  }

  /** The peer with this fingerprint. */
  byFingerprint(fingerprint: string): KnownPeer | undefined {
    return this.peers.find((peer) => peer.fingerprint === fingerprint);
  }

  /** The peer that answered at `address` (`host:port`) before. */
  byAddress(address: string): KnownPeer | undefined {
    return this.peers.find((peer) => peer.addresses.includes(address));
  }

  /** The peer that a person called `name`. */
  byName(name: string): KnownPeer | undefined {
    return this.peers.find((peer) => peer.name === name);
  }

  /** Remembers that `fingerprint` answers at `address`, taking the address from any other key. */
  rememberAddress(fingerprint: string, address: string): void {
    this.change(() => this.addAddress(fingerprint, address));
  }

  private addAddress(fingerprint: string, address: string): void {
    for (const peer of this.peers) {
      if (peer.fingerprint !== fingerprint && peer.addresses.includes(address)) {
        this.put({ ...peer, addresses: peer.addresses.filter((known) => known !== address) });
      }
    }
    const known = this.byFingerprint(fingerprint);
    if (known?.addresses.includes(address) === true) return;
    this.put(
      known === undefined
        ? {
            fingerprint,
            addresses: [address],
            mayRead: false,
            mayWrite: false,
            addedAt: new Date().toISOString(),
          }
        : { ...known, addresses: [...known.addresses, address] },
    );
  }

  /** Authorises a peer, or changes what it may do. */
  trust(fingerprint: string, rights: PeerRights): KnownPeer {
    return this.change(() => this.authorise(fingerprint, rights));
  }

  private authorise(fingerprint: string, rights: PeerRights): KnownPeer {
    const known = this.byFingerprint(fingerprint);
    const { name, directory } = rights;
    const holder = name === undefined ? undefined : this.byName(name);
    if (holder !== undefined && holder.fingerprint !== fingerprint) {
      throw new GodwitError(
        "USAGE",
        `the name ${JSON.stringify(name)} already belongs to ${holder.fingerprint}; choose another or forget that peer first`,
      );
    }
    const peer: KnownPeer = {
      fingerprint,
      addresses: known?.addresses ?? [],
      mayRead: rights.mayRead,
      mayWrite: rights.mayWrite,
      addedAt: known?.addedAt ?? new Date().toISOString(),
      ...(name === undefined ? (known?.name === undefined ? {} : { name: known.name }) : { name }),
      ...(directory === undefined ? {} : { directory }),
    };
    this.put(peer);
    return peer;
  }

  /** Forgets a peer by fingerprint or name and returns it, or `undefined` if it was not known. */
  forget(fingerprintOrName: string): KnownPeer | undefined {
    return this.change(() => {
      const peer = this.byFingerprint(fingerprintOrName) ?? this.byName(fingerprintOrName);
      this.peers = this.peers.filter((known) => known !== peer);
      return peer;
    });
  }

  private put(peer: KnownPeer): void {
    const index = this.peers.findIndex((known) => known.fingerprint === peer.fingerprint);
    if (index >= 0) this.peers[index] = peer;
    else this.peers.push(peer);
  }

  /** Makes a change to what the file says now. */
  private change<Value>(work: () => Value): Value {
    return withFileLock(this.path, () => {
      this.peers = readPeers(this.path);
      const before = JSON.stringify(this.peers);
      const value = work();
      if (JSON.stringify(this.peers) === before) return value;
      const file = { version: 1, peers: this.peers };
      replaceFile(this.path, Buffer.from(`${JSON.stringify(file, undefined, 2)}\n`));
      return value;
    });
  }
}

function readPeers(path: string): KnownPeer[] {
  const bytes = readStateFile(path, KNOWN_PEERS_BYTES_MAX, false);
  return bytes === undefined ? [] : parseKnownPeers(bytes, path);
}
