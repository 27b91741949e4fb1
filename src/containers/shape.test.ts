import assert from 'node:assert/strict'
import test from 'node:test'
import { configShape, createShape, hostConfigShape, updateShape } from './config.ts'

/** Bodies of create, and what dockerd 28.2 says of them behind `json: cannot unmarshal`. */
const wrong: readonly (readonly [body: unknown, sentence: string])[] = [
  [[], 'array into Go value of type container.CreateRequest'],
  [{ Image: 5 }, 'number into Go struct field CreateRequest.Config.Image of type string'],
  [{ Env: 'x' }, 'string into Go struct field CreateRequest.Config.Env of type []string'],
  [{ Env: [5] }, 'number into Go struct field CreateRequest.Config.Env of type string'],
  [{ Cmd: 5 }, 'number into Go struct field CreateRequest.Config.Cmd of type string'],
  [{ Cmd: [5] }, 'array into Go struct field CreateRequest.Config.Cmd of type string'],
  [{ ExposedPorts: [] }, 'array into Go struct field CreateRequest.Config.ExposedPorts of type nat.PortSet'],
  [{ ExposedPorts: { a: 5 } }, 'number into Go struct field CreateRequest.Config.ExposedPorts of type struct {}'],
  [{ StopTimeout: 'x' }, 'string into Go struct field CreateRequest.Config.StopTimeout of type int'],
  [{ Healthcheck: { Interval: 'x' } },
    'string into Go struct field HealthcheckConfig.Config.Healthcheck.Interval of type time.Duration'],
  [{ HostConfig: 5 }, 'number into Go struct field CreateRequest.HostConfig of type container.HostConfig'],
  [{ HostConfig: { Memory: 1.5 } },
    'number 1.5 into Go struct field HostConfig.HostConfig.Resources.Memory of type int64'],
  [{ HostConfig: { BlkioWeight: 99999 } },
    'number 99999 into Go struct field HostConfig.HostConfig.Resources.BlkioWeight of type uint16'],
  [{ HostConfig: { Binds: 'x' } }, 'string into Go struct field HostConfig.HostConfig.Binds of type []string'],
  [{ HostConfig: { PortBindings: 5 } },
    'number into Go struct field HostConfig.HostConfig.PortBindings of type nat.PortMap'],
  [{ HostConfig: { PortBindings: { '80/tcp': 5 } } },
    'number into Go struct field HostConfig.HostConfig.PortBindings of type []nat.PortBinding'],
  [{ HostConfig: { PortBindings: { '80/tcp': [{ HostPort: 5 }] } } },
    'number into Go struct field PortBinding.HostConfig.PortBindings.HostPort of type string'],
  [{ HostConfig: { RestartPolicy: { Name: 5 } } },
    'number into Go struct field RestartPolicy.HostConfig.RestartPolicy.Name of type container.RestartPolicyMode'],
  [{ HostConfig: { Mounts: [{ BindOptions: 5 }] } },
    'number into Go struct field Mount.HostConfig.Mounts.BindOptions of type mount.BindOptions'],
  [{ HostConfig: { NetworkMode: 5 } },
    'number into Go struct field HostConfig.HostConfig.NetworkMode of type container.NetworkMode'],
  [{ HostConfig: { Ulimits: [{ Soft: 'x' }] } },
    'string into Go struct field Ulimit.HostConfig.Resources.Ulimits.Soft of type int64'],
  [{ HostConfig: { Devices: {} } },
    'object into Go struct field HostConfig.HostConfig.Resources.Devices of type []container.DeviceMapping'],
  [{ NetworkingConfig: { EndpointsConfig: 5 } },
    'number into Go struct field NetworkingConfig.NetworkingConfig.EndpointsConfig' +
      ' of type map[string]*network.EndpointSettings'],
  [{ NetworkingConfig: { EndpointsConfig: { a: { IPAMConfig: { IPv4Address: 5 } } } } },
    'number into Go struct field EndpointIPAMConfig.NetworkingConfig.EndpointsConfig' +
      '.IPAMConfig.IPv4Address of type string'],
]

test('what is wrong is said in the words of Go, with the names of its types', () => {
  for (const [body, sentence] of wrong) {
    assert.throws(() => createShape.decode(body, 'CreateRequest'), {
      message: `invalid JSON: json: cannot unmarshal ${sentence}`,
    })
  }
  assert.throws(() => updateShape.decode({ Memory: 'x' }, 'UpdateConfig'), {
    message: 'invalid JSON: json: cannot unmarshal string into Go struct field' +
      ' UpdateConfig.Resources.Memory of type int64',
  })
})

test('maps are shown in the order of their keys', () => {
  const config = configShape.decode({ Labels: { b: '1', B: '2', a: '3' } }, '')
  assert.ok(JSON.stringify(configShape.show(config)).includes('"Labels":{"B":"2","a":"3","b":"1"}'))
  const host = hostConfigShape.decode({ PortBindings: { '90/tcp': [], '80/tcp': null } }, '')
  assert.ok(JSON.stringify(hostConfigShape.show(host)).includes('{"80/tcp":null,"90/tcp":[]}'))
})
