/** Values of every kind that a plain JavaScript program may pass by mistake, each with a name. */

/** Created anew for every call, because a call may change them. */
export const WRONG_VALUES: { readonly [name: string]: () => unknown } = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  '-1': () => -1,
  '0.5': () => 0.5,
  '2^53': () => 2 ** 53,
  BigInt: () => 4096n,
  'empty string': () => '',
  string: () => 'x',
  'string with NUL': () => 'a\0b',
  'numeric string': () => '4096',
  symbol: () => Symbol('s'),
  function: () => () => 5,
  class: () => class AddressSpace {},
  'empty object': () => ({}),
  'null prototype': () => Object.create(null),
  'unknown key': () => ({ memroy: 1 }),
  'throwing getters': () => {
    const fail = (): never => {
      throw new TypeError('a getter of the caller');
    };
    return new Proxy({}, { get: fail, has: () => true });
  },
  'revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  'revoked proxy of an array': () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    return proxy;
  },
  'empty array': () => [],
  'array of an array': () => [[]],
  'array with a hole': () => new Array(2),
  'array of strings': () => ['x'],
  'array of numbers': () => [-1, Number.NaN],
  date: () => new Date(0),
  map: () => new Map([['memory', 5]]),
  promise: () => Promise.resolve(5),
  Uint8Array: () => new Uint8Array([1, 2, 3]),
  'empty Uint8Array': () => new Uint8Array(),
  Uint32Array: () => new Uint32Array([0x01020304, 300]),
  Float64Array: () => new Float64Array([1, 2]),
  DataView: () => new DataView(new ArrayBuffer(8)),
  Buffer: () => Buffer.from('x'),
  ArrayBuffer: () => new ArrayBuffer(8),
  SharedArrayBuffer: () => new SharedArrayBuffer(8),
  'detached view': () => {
    const view = new Uint8Array(8);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  },
  'another class of the same name': () => new (class AddressSpace {})(),
  'an object that looks like a machine': () => ({ parts: {}, handle: {}, memory: {} }),
  'an object that looks like a signal': () => ({ aborted: false }),
};

/** Names of the values by type, for arguments that accept that type. */
export const NUMBERS = ['NaN', 'Infinity', '-1', '0.5', '2^53'] as const;
export const VIEWS = [
  'Uint8Array',
  'empty Uint8Array',
  'Uint32Array',
  'Float64Array',
  'DataView',
  'Buffer',
] as const;
