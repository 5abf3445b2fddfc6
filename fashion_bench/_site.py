"What the builder of the site needs; nothing of it is used at run time."

def strip_export(
    cell # Of a notebook
)->None:
    "Take the directive off Markdown cells that are exported into docstrings: nbdev would show it on the page."
    if cell.cell_type == 'markdown': cell.remove_directives()
