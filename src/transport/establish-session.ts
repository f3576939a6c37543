/** Makes the parts of a connection that need keys, once the handshake has given them. */
import { SeededRandom } from "../base/random.ts";
import { AckTracker } from "./ack-tracker.ts";
import { localTransportParameters } from "./connection-config.ts";
import { RemoteConnectionIds } from "./connection-ids.ts";
import type { ConnectionOptions } from "./connection-options.ts";
import { ControlQueue } from "./control-queue.ts";
import { DatagramSize } from "./datagram-size.ts";
import { SendCredit } from "./flow-control.ts";
import type { HandshakeResult } from "./handshake/configuration.ts";
import { PacketKeys } from "./keys.ts";
import { Liveness } from "./liveness.ts";
import { MtuDiscovery } from "./mtu-discovery.ts";
import { Recovery } from "./recovery/recovery.ts";
import { SentFrames } from "./sent-frames.ts";
import type { Session } from "./session.ts";

/** The parts that a connection has from its beginning. */
export type EarlierParts = Pick<
  Session,
  "events" | "streams" | "window" | "localIds" | "paths" | "closing" | "limits" | "source" | "sink"
>;

/**
 * Makes a session and queues what the peer is told first.
 *
 * @param times - Patience and keep-alive that the application has asked for by now.
 */
export function establishSession(
  outcome: HandshakeResult,
  options: ConnectionOptions,
  earlier: EarlierParts,
  times: { readonly patienceUs: number; readonly keepAliveUs: number },
  nowUs: number,
): Session {
  const { config } = options;
  const { events, streams, window, localIds, paths, closing, limits, source, sink } = earlier;
  const { peerParameters } = outcome;
  const random = new SeededRandom(options.seed, "connection");
  const credit = new SendCredit(peerParameters.initialMaxObjectData);
  const recovery = new Recovery({
    controllerFactory: options.controllerFactory,
    datagramBytes: config.datagramBytes,
    nowUs,
    randomFloat: () => random.float(),
    events,
    maxAckDelayUs: peerParameters.maxAckDelayUs,
    rateCap: options.rateCap,
  });
  if (outcome.rttUs !== undefined) recovery.handleInitialRtt(outcome.rttUs, nowUs);
  const idleTimeouts = [config.idleTimeoutUs, peerParameters.maxIdleTimeoutUs].filter((us) => us > 0);
  const idleTimeoutUs = idleTimeouts.length === 0 ? 0 : Math.min(...idleTimeouts);
  const datagramLimit = Math.min(options.datagramLimitBytes, peerParameters.maxDatagramBytes);
  // Every field by its name: of objects that begin with a spread, V8 makes a hidden class each, and what
  // all connections run is then compiled for none of them.
  const session: Session = {
    role: options.role,
    events,
    random,
    localParameters: localTransportParameters(config),
    peerParameters,
    keys: new PacketKeys(options.crypto, outcome.sendSecret, outcome.receiveSecret, config.keyLimits),
    tracker: new AckTracker(config.maxAckDelayUs),
    recovery,
    mtu: new MtuDiscovery(config.datagramBytes, datagramLimit),
    datagramSize: new DatagramSize(Math.min(config.datagramBytes, datagramLimit)),
    sentFrames: new SentFrames(),
    streams,
    window,
    credit,
    localIds,
    remoteIds: new RemoteConnectionIds(outcome.peerConnectionId),
    control: new ControlQueue({ streams, window, credit, localIds }),
    paths,
    liveness: new Liveness(
      events,
      { idleTimeoutUs, patienceUs: times.patienceUs, keepAliveUs: times.keepAliveUs },
      nowUs,
    ),
    closing,
    limits,
    source,
    sink,
    isConfirmed: options.role === "responder",
  };
  session.paths.handleValidated();
  streams.handlePeerLimits(peerParameters.initialMaxStreams, peerParameters.initialMaxStreamData);
  session.control.addNewConnectionIds(localIds.replenish(peerParameters.activeConnectionIdLimit));
  if (options.role === "responder") session.control.addHandshakeDone();
  return session;
}
