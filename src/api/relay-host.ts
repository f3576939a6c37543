/** What a server does so that its receivers can exchange chunks with others of the same transfer. docs/design/relay.md */
import { equalBytes } from "../base/bytes.ts";
import { monotonicNowUs } from "../node/clock.ts";
import type { Blake3 } from "../node/hash.ts";
import type { Host } from "../node/host.ts";
import { formatAddress } from "../node/sockets/address-text.ts";
import type { Connection } from "../transport/connection.ts";
import type { CryptoProvider } from "../transport/crypto.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import { fingerprintOf } from "../transport/fingerprint.ts";
import type { RelayDial } from "../transfer/relay/relay-node.ts";
import type { RelayRegistry } from "../transfer/relay/relay-registry.ts";
import { RelaySession } from "../transfer/relay/relay-session.ts";
import type { TransferSession } from "../transfer/session.ts";

/** What it works on. */
export interface RelayHostSetup {
  readonly host: Host;
  readonly endpoint: Endpoint;
  readonly registry: RelayRegistry;
  readonly crypto: CryptoProvider;
  readonly hash: Blake3;
  /** Sessions that are ended with the server. */
  readonly running: Map<Connection, TransferSession>;
}

/** Carries the exchange on a server's host. Returns what resolves when nothing is exchanged any more. */
export function carryRelays(setup: RelayHostSetup): () => Promise<void> {
  const { host, registry } = setup;
  let onIdle: () => void = () => undefined;
  host.carry({
    takeDiskRequests: () => registry.takeDiskRequests(),
    get hasDiskRequests() {
      return registry.hasDiskRequests;
    },
    handleDiskResult: (id, result) => registry.handleDiskResult(id, result),
    nextTimeoutUs: () => registry.nextTimeoutUs(),
    get concernsSessions() {
      return !registry.isIdle;
    },
    handleTurn: (nowUs) => {
      registry.handleTurn(nowUs);
      for (const dial of registry.takeDials()) dialOther(setup, dial, nowUs);
      if (registry.isIdle) onIdle();
    },
  });
  return () =>
    new Promise((resolve) => {
      if (registry.isIdle) resolve();
      else onIdle = resolve;
    });
}

/**
 * Dials a receiver that the sender named. Only the key that the sender proved counts: nothing is
 * asked of a person, and nothing is remembered.
 */
function dialOther(setup: RelayHostSetup, dial: RelayDial, nowUs: number): void {
  const { host, endpoint, crypto, hash, running } = setup;
  const { address, key, node } = dial;
  const verifyPeer = (shown: Uint8Array): "PIN_MISMATCH" | undefined =>
    equalBytes(shown, key) ? undefined : "PIN_MISMATCH";
  const connection = endpoint.connect({ address, verifyPeer }, nowUs);
  host.watch(connection, () => undefined);
  void host.established(connection).then(async () => {
    if (connection.state !== "established") {
      node.handleUnreached(dial);
      return;
    }
    const session = new RelaySession(
      {
        hash,
        peerKey: key,
        peerFingerprint: fingerprintOf(key, crypto),
        peerAddress: formatAddress(address),
        umask: process.umask(),
      },
      dial,
      monotonicNowUs(),
    );
    running.set(connection, session);
    await host.run(connection, session, true);
    await host.closing(connection);
    running.delete(connection);
  });
}
