// JSONColumns
