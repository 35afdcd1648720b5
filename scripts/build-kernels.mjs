// Compiles frames.wat of a folder into the two modules that it describes.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import wabt from 'wabt';

const FEATURES = { threads: true, bulk_memory: true, simd: true, multi_memory: true };

export async function buildKernels(from, to) {
  const text = readFileSync(`${from}/frames.wat`, 'utf8');
  const { parseWat } = await wabt();
  mkdirSync(to, { recursive: true });
  compile(parseWat, to, 'between', text);
  const alone = text.replace(/^.*\(memory \$image .*\n/m, '').replaceAll('$image', '$frames');
  compile(parseWat, to, 'inside', alone);
}

function compile(parseWat, to, name, source) {
  const module = parseWat(`${name}.wat`, source, FEATURES);
  const { buffer } = module.toBinary({});
  module.destroy();
  // "between" is looked at where it is loaded: Node 20 cannot tell.
  if (name === 'inside' && !WebAssembly.validate(buffer))
    throw new Error(`${name}.wasm is invalid`);
  writeFileSync(`${to}/${name}.wasm`, buffer);
}
