/**
 * containerd's services as typed clients over one HTTP/2 connection on its unix socket.
 *
 * Every call carries our containerd namespace. The connection is made when first needed and again
 * after containerd was away (`away.ts` says what becomes of calls meanwhile). No keepalive pings:
 * containerd ends connections that ping more often than every five minutes.
 */
import { connect } from 'node:net'
import {
  Code,
  ConnectError,
  createClient,
  type Client,
  type Interceptor,
} from '@connectrpc/connect'
import type { DescService } from '@bufbuild/protobuf'
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node'
import { patient, plainspoken } from './away.ts'
import { Containers } from './gen/containers_pb.ts'
import { Content } from './gen/content_pb.ts'
import { Diff } from './gen/diff_pb.ts'
import { Events } from './gen/events_pb.ts'
import { Images } from './gen/images_pb.ts'
import { Leases } from './gen/leases_pb.ts'
import { Namespaces } from './gen/namespaces_pb.ts'
import { Snapshots } from './gen/snapshots_pb.ts'
import { Tasks } from './gen/tasks_pb.ts'
import { Version } from './gen/version_pb.ts'

/** The only snapshotter in use; every snapshot request names it. */
export const snapshotter = 'overlayfs'

export interface Containerd {
  readonly socketPath: string
  readonly namespace: string
  readonly version: Client<typeof Version>
  readonly namespaces: Client<typeof Namespaces>
  readonly leases: Client<typeof Leases>
  readonly content: Client<typeof Content>
  readonly images: Client<typeof Images>
  readonly snapshots: Client<typeof Snapshots>
  readonly diff: Client<typeof Diff>
  readonly containers: Client<typeof Containers>
  readonly tasks: Client<typeof Tasks>
  readonly events: Client<typeof Events>
  /** Ends the connection; pending calls fail. A later call connects again. */
  close(): void
}

/** How long a call waits for a containerd that is being started again. */
const defaultPatienceMs = 10_000
/**
 * How long a shim may take to answer: on a busy machine it starts runc for much. Longer than a
 * call waits for containerd, which would be taken for a shim that is stuck otherwise.
 */
export const shimTimeoutMs = 20_000

/**
 * Clients for the containerd at `socketPath`. Nothing is sent yet.
 *
 * @param patienceMs a call that finds nobody listening is tried again for so long (`away.ts`)
 */
export function connectContainerd(
  socketPath: string,
  namespace: string,
  patienceMs = defaultPatienceMs,
): Containerd {
  const baseUrl = 'http://containerd' // only the :authority header; the socket says where
  const sessions = new Http2SessionManager(baseUrl, undefined, {
    createConnection: () => connect(socketPath),
  })
  const inNamespace: Interceptor = (next) => (request) => {
    request.header.set('containerd-namespace', namespace)
    return next(request)
  }
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: sessions,
    interceptors: [inNamespace, patient(sessions, patienceMs)],
  })
  const clientOf = <T extends DescService>(service: T): Client<T> =>
    plainspoken(createClient(service, transport), socketPath)
  return {
    socketPath,
    namespace,
    version: clientOf(Version),
    namespaces: clientOf(Namespaces),
    leases: clientOf(Leases),
    content: clientOf(Content),
    images: clientOf(Images),
    snapshots: clientOf(Snapshots),
    diff: clientOf(Diff),
    containers: clientOf(Containers),
    tasks: clientOf(Tasks),
    events: clientOf(Events),
    close: () => sessions.abort(),
  }
}

/** Makes our namespace in containerd; fine when it is there. */
export async function ensureNamespace(containerd: Containerd): Promise<void> {
  try {
    await containerd.namespaces.create({ namespace: { name: containerd.namespace, labels: {} } })
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
}

const hasCode = (error: unknown, code: Code): boolean =>
  error instanceof ConnectError && error.code === code

export const isNotFound = (error: unknown): boolean => hasCode(error, Code.NotFound)
export const isAlreadyExists = (error: unknown): boolean => hasCode(error, Code.AlreadyExists)
export const isUnimplemented = (error: unknown): boolean => hasCode(error, Code.Unimplemented)
/** Ours, or one that containerd had for a shim: some versions say it in words only. */
export const isTooLate = (error: unknown): boolean =>
  hasCode(error, Code.DeadlineExceeded) ||
  (error instanceof ConnectError && error.rawMessage.includes('context deadline exceeded'))
export const isFailedPrecondition = (error: unknown): boolean =>
  hasCode(error, Code.FailedPrecondition)

/** `undefined` instead of «not found». */
export async function unlessNotFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}
