/** Checks what the command line prints with --json against the schemas in docs/schemas. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

const FOLDER = fileURLToPath(new URL('../../../docs/schemas/', import.meta.url));
const SUFFIX = '.schema.json';

/** The schemas by the name of their command. */
export const SCHEMAS: ReadonlyMap<string, ValidateFunction> = new Map(
  readdirSync(FOLDER).map((name) => {
    const schema = JSON.parse(readFileSync(`${FOLDER}${name}`, 'utf8'));
    return [
      name.slice(0, -SUFFIX.length),
      new Ajv2020({ strict: true, allErrors: true }).compile(schema),
    ];
  }),
);

/** Throws unless `value` is what `command` may print. */
export function assertMatchesSchema(command: string, value: unknown): void {
  const validate = SCHEMAS.get(command);
  if (validate === undefined) throw new Error(`docs/schemas has no ${command}${SUFFIX}`);
  if (validate(value)) return;
  const lines = (validate.errors ?? []).map(({ instancePath, message, params }) => {
    return `${instancePath || '/'} ${message} ${JSON.stringify(params)}`;
  });
  throw new Error(`${command} --json does not match its schema:\n${lines.join('\n')}`);
}

/**
 * Checks the output of a run of the command line with these arguments. Without --json, and if a
 * failed command has printed nothing, there is nothing to check.
 */
export function checkJsonOutput(args: readonly string[], stdout: string): void {
  if (!args.includes('--json') || stdout === '') return;
  const command = args.find((word) => SCHEMAS.has(word));
  if (command === undefined) throw new Error(`no schema for: mmdump ${args.join(' ')}`);
  assertMatchesSchema(command, JSON.parse(stdout));
}
