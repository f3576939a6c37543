/** Makes an endpoint from what users choose. */
import type { CongestionControllerFactory } from "../transport/congestion/controller.ts";
import { bbr, polite } from "../transport/congestion/bbr.ts";
import { cubic } from "../transport/congestion/cubic.ts";
import { newReno } from "../transport/congestion/newreno.ts";
import type { ConnectionConfig } from "../transport/connection-config.ts";
import type { CryptoProvider } from "../transport/crypto.ts";
import { Endpoint, type AcceptOptions } from "../transport/endpoint.ts";
import type { DatagramSocket } from "../transport/socket.ts";
import { Pacer } from "../transport/pacer.ts";
import type { GodwitEvent } from "../events/event.ts";
import { QlogDirectory } from "../node/qlog-file.ts";
import type { Identity } from "../node/stores/identity.ts";
import { monotonicNowUs } from "../node/clock.ts";
import type { ControllerName, NetworkOptions } from "./options.ts";
import { MIN_DATAGRAM_BYTES } from "../base/limits.ts";
import { VERSION } from "./version.ts";

/** Silence after which an open transfer asks its peer for a sign of life, in microseconds. */
const KEEP_ALIVE_US = 5_000_000;

const CONTROLLERS: Readonly<Record<ControllerName, CongestionControllerFactory>> = {
  bbr,
  cubic,
  newreno: newReno,
  polite,
};

/** An endpoint for this identity on a socket; `accept` lets peers in. */
export function makeEndpoint(
  identity: Identity,
  crypto: CryptoProvider,
  socket: DatagramSocket,
  options: NetworkOptions,
  accept: AcceptOptions | undefined,
  config: Partial<ConnectionConfig> = {},
): Endpoint {
  const nowUs = monotonicNowUs();
  const seedBytes = crypto.randomBytes(new Uint8Array(4));
  return new Endpoint({
    crypto,
    identity: identity.signing,
    staticKey: identity.staticKey,
    seed: new DataView(seedBytes.buffer).getUint32(0),
    config: {
      agent: `godwit/${VERSION}`,
      keepAliveUs: KEEP_ALIVE_US,
      ...(options.patienceUs === undefined ? {} : { patienceUs: options.patienceUs }),
      ...config,
    },
    controllerFactory: CONTROLLERS[options.controller ?? "bbr"],
    rateCap: rateCap(options.rateBytesPerSecond, nowUs),
    datagramLimit: (addresses, index) => socket.maxDatagramBytes(addresses, index),
    accept,
    nowUs,
  });
}

/** Logs of connections, if they are wanted. `onEvent` is told when they cannot be written. */
export function qlogDirectory(
  options: NetworkOptions,
  onEvent: (event: GodwitEvent & { readonly type: "log-stopped" }) => void,
): QlogDirectory | undefined {
  if (options.qlog === undefined) return undefined;
  return new QlogDirectory(options.qlog, `godwit/${VERSION}`, (reason) =>
    onEvent({ type: "log-stopped", reason }),
  );
}

/** The hard cap that all connections of an endpoint share. */
function rateCap(bytesPerSecond: number | undefined, nowUs: number): Pacer | undefined {
  if (bytesPerSecond === undefined) return undefined;
  const pacer = new Pacer(MIN_DATAGRAM_BYTES);
  pacer.setRate(bytesPerSecond, nowUs);
  return pacer;
}
