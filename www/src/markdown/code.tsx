import { CopyButton } from '../components/copy.tsx';

/** A block of code with its language and a button that copies it. */
export function Code({ text, language }: { text: string; language: string }) {
  return (
    <figure class="code" dir="ltr">
      <figcaption>
        <span>{language || 'text'}</span>
        <CopyButton text={() => text} label="Copy code" />
      </figcaption>
      <pre tabIndex={0} aria-label={`Code, ${language || 'plain text'}`} role="region">
        <code>{text}</code>
      </pre>
    </figure>
  );
}
