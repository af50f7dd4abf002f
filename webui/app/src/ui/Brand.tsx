import classes from './Brand.module.css'

/** The name and its mark: a clock whose rim is a c. */
export function Brand() {
  return (
    <span className={classes.brand}>
      <svg width="24" height="24" viewBox="0 0 32 32" aria-hidden>
        <rect width="32" height="32" rx="8" className={classes.field} />
        <g fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round" strokeLinejoin="round">
          <path d="M23.2 10.6a9 9 0 1 0 0 10.8" />
          <path d="M16 10.8V16l4.2 2.6" />
        </g>
      </svg>
      crony
    </span>
  )
}
