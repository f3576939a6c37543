/** Endpoints on hosts of a simulated world. */
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { Endpoint } from "../../src/transport/endpoint.ts";
import type { EndpointOptions } from "../../src/transport/endpoint.ts";

const crypto = nodeCryptoProvider();

/** An endpoint with an identity of its own, running on `host`. */
export function startEndpoint(host: SimHost, options: Partial<EndpointOptions> = {}): Endpoint {
  const identity = temporaryIdentity(crypto);
  const endpoint = new Endpoint({
    crypto,
    identity: identity.signing,
    staticKey: identity.staticKey,
    seed: host.world.seed,
    nowUs: host.world.nowUs,
    ...options,
  });
  host.start({
    handleDatagrams: (batch, _from, _to, nowUs) => endpoint.handleDatagrams(batch, nowUs),
    handleTimeout: (nowUs) => endpoint.handleTimeout(nowUs),
    pollTransmit: (batch, nowUs) => endpoint.pollTransmit(batch, nowUs),
    nextTimeoutUs: () => endpoint.nextTimeoutUs(),
  });
  return endpoint;
}

/** Lets everybody in. */
export const OPEN = { verifyPeer: () => undefined } as const;
